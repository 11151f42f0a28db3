"""Timestamps as the API writes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def now_text(later_s: int = 0) -> str:
    """The current time plus `later_s` seconds, in UTC, to the second: "2025-01-31T12:00:00Z"."""
    return (datetime.now(UTC) + timedelta(seconds=later_s)).strftime("%Y-%m-%dT%H:%M:%SZ")


def age_s(text: str | None) -> int | None:
    """Seconds since a timestamp, None when there is none or it cannot be read."""
    if not text:
        return None
    try:
        then = datetime.fromisoformat(text)
    except ValueError:
        return None
    return max(0, int((datetime.now(UTC) - then).total_seconds()))
