"""Inter-pod affinity in the form that planning needs: near, or away from, pods that carry the same labels."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PodAffinity:
    """Required terms: `labels` say which pods, the keys in which domain (a node label); "" for no such term."""

    labels: tuple[tuple[str, str], ...]
    near_key: str = ""
    apart_key: str = ""
