"""Texts for a terminal: tables, ages, and values of which nothing but letters reaches the terminal."""

from __future__ import annotations

from collections.abc import Sequence

_STEPS = ((60, 1, "s"), (3600, 60, "m"), (86_400, 3600, "h"), (365 * 86_400, 86_400, "d"))


def table(rows: Sequence[tuple[str, ...]], *, first_gap: int = 2) -> str:
    """Columns as wide as their widest cell and two spaces more, the first one `first_gap`; no trailing blanks."""
    shown = [tuple(map(printable, row)) for row in rows]
    widths = [max(map(len, column)) + 2 for column in zip(*shown, strict=True)]
    widths[0] += first_gap - 2
    lines = ("".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown)
    return "".join(f"{line}\n" for line in lines)


def ruled(rows: Sequence[tuple[str, ...]]) -> str:
    """A table whose titles, the first row, are underlined."""
    titles, *rest = rows
    return table([titles, tuple("-" * len(title) for title in titles), *rest])


def age(seconds: float) -> str:
    """A whole number of the largest fitting unit, cut off: 59s, 29m, 23h, 364d, 2y."""
    for below, unit, letter in _STEPS:
        if seconds < below:
            return f"{max(0, int(seconds)) // unit}{letter}"
    return f"{int(seconds) // (365 * 86_400)}y"


def printable(text: str) -> str:
    """On one line, and with control characters as escapes: what others wrote does not command our terminal."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
