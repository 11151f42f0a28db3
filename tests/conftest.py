"""Runs are repeatable: hypothesis derives its examples from the test itself, not from a seed of the day."""

from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

# `from tests.builders import node` works however pytest was started.
_ROOT = str(Path(__file__).resolve().parent.parent)
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)

settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,  # a busy machine is not a failure
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")
