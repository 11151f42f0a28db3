from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.model.timestamps import seconds, text


@given(st.integers(0, 13_000_000_000))
def test_as_the_calendar_says(since_epoch: int) -> None:
    assert seconds(datetime.fromtimestamp(since_epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")) == since_epoch


@pytest.mark.parametrize("written", ["", "yesterday", "2026-01-01", "2026-01-01T00:00:00+01:00"])
def test_what_is_no_timestamp(written: str) -> None:
    assert seconds(written) == 0.0


def test_fractions_are_cut_off() -> None:
    assert seconds("1970-01-01T00:00:01.999999Z") == 1.0


@given(st.integers(0, 253_402_300_799))
def test_a_text_is_the_reverse(at: int) -> None:
    assert text(at) == datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert seconds(text(at)) == at
