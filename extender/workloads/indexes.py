"""Sets of indexes as a status keeps them: "0-3,7"."""

from __future__ import annotations

from collections.abc import Iterable


def text(indexes: Iterable[int]) -> str:
    """Ascending, neighbours as ranges; "" for none."""
    ranges: list[list[int]] = []
    for index in sorted(set(indexes)):
        if ranges and index == ranges[-1][1] + 1:
            ranges[-1][1] = index
        else:
            ranges.append([index, index])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def parse(written: object, *, below: int) -> set[int]:
    """The indexes less than `below`. What cannot be read counts as not there; never raises."""
    found: set[int] = set()
    for part in written.split(",") if isinstance(written, str) else ():
        first, _, last = part.partition("-")
        if _is_index(first) and _is_index(last or first):
            found.update(range(int(first), min(int(last or first) + 1, below)))
    return {index for index in found if index < below}


def _is_index(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10
