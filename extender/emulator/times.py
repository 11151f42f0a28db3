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


def duration(seconds: int | None) -> str:
    """A span as kubectl writes it: "45s", "5m10s", "3h", "2d4h"."""
    if seconds is None:
        return "<unknown>"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    return _two(days // 365, "y", days % 365, "d")


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"
