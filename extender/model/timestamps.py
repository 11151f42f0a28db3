"""RFC 3339 timestamps of the API server as seconds since the epoch, by arithmetic alone."""

from __future__ import annotations

import re
from functools import lru_cache

_FORM = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d+)?Z", re.ASCII)
_DAY_S = 86_400
_DAYS_BEFORE_EPOCH = 719_468  # from 0000-03-01, where a year ends with its leap day


@lru_cache(maxsize=65_536)
def seconds(text: str) -> float:
    """Seconds since the epoch of "2026-01-31T12:00:00Z", 0.0 for anything else. Fractions are cut off."""
    found = _FORM.fullmatch(text)
    if found is None:
        return 0.0
    year, month, day, hour, minute, second = map(int, found.groups())
    if month <= 2:
        year -= 1
    # Days since March 1st: months of 31, 30, 31, 30, 31 days come round every five.
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    days = 365 * year + year // 4 - year // 100 + year // 400 + of_year - _DAYS_BEFORE_EPOCH
    return float(days * _DAY_S + 3600 * hour + 60 * minute + second)


def text(at: float) -> str:
    """The reverse of `seconds`: an RFC 3339 timestamp in UTC, of whole seconds, from 1970 on."""
    days, of_day = divmod(int(at), _DAY_S)
    era, of_era = divmod(days + _DAYS_BEFORE_EPOCH, 146_097)  # 400 years
    year = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153  # 0 is March
    day = of_year - (153 * month + 2) // 5 + 1
    month = month + 3 if month < 10 else month - 9
    year += 400 * era + (month <= 2)
    hour, of_hour = divmod(of_day, 3600)
    return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{of_hour // 60:02d}:{of_hour % 60:02d}Z"
