"""What a device with some of it free will waste in the end: cutting-stock prices of the demand.

Filling devices with shares is cutting stock: patterns (sets of shares that fit on one device) are used so that the
mix of demand is served with the fewest devices. The dual prices of that linear program say what each share is worth
in whole devices, and so what any free rest is worth; what it is not worth, it wastes. A rest of 190 is worth
nothing where the shares that fit it are too rare to fill all such rests; averaging over demand cannot see that.
Source: Gilmore and Gomory's dual; packing.md section 6 for the averaging it replaces.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from extender.model.amounts import GPU

Floats = NDArray[np.float64]

_SMALLEST = 100  # shares below a tenth fill any rest, and would multiply the patterns
_MOST_PATTERNS = 2000
_ZERO = 1e-9
_NO_CYCLES = 1e-7  # perturbation of the right-hand side


def wasted(demand: dict[int, float]) -> Floats:
    """[GPU + 1] milli-GPU wasted by a device, by how much of it is free; may be below 0, and is 0 for a whole one.

    demand: share (milli-GPU, GPU for whole devices) → how much of the demand has it, any unit. Cost: milliseconds.
    """
    sizes = sorted(size for size, weight in demand.items() if size >= _SMALLEST and weight > 0)
    worth = np.zeros(GPU + 1)
    if sizes:
        patterns = _patterns(sizes)
        while patterns is None:
            sizes.remove(min(sizes, key=lambda size: (size * demand[size], size)))
            patterns = _patterns(sizes)
        weights = np.array([demand[size] for size in sizes])
        prices = _maximize(weights / weights.sum(), patterns)
        steps = np.array(sizes)
        for free in range(1, GPU + 1):
            n = int(np.searchsorted(steps, free, side="right"))
            best = (worth[free - steps[:n]] + prices[:n]).max() if n else 0.0
            worth[free] = max(worth[free - 1], best)
    result: Floats = np.arange(GPU + 1) - GPU * worth
    # A whole device is the unit of account; the perturbation leaves it a hair off.
    result[GPU] = 0.0
    return result


def _patterns(sizes: list[int]) -> Floats | None:
    """Every set of shares that fills a device as far as it goes, one count a size; None when they are too many."""
    found: list[list[int]] = []

    def extend(index: int, left: int, counts: list[int]) -> bool:
        if index < 0:
            found.append(counts[::-1])
            return len(found) <= _MOST_PATTERNS
        most = left // sizes[index]
        least = most if index == 0 else 0
        return all(extend(index - 1, left - n * sizes[index], [*counts, n]) for n in range(most, least - 1, -1))

    return np.array(found, dtype=np.float64) if extend(len(sizes) - 1, GPU, []) else None


def _maximize(weights: Floats, patterns: Floats) -> Floats:
    """The x >= 0 that maximizes weights · x with patterns x <= 1: a dense simplex from x = 0, first index on ties.

    Some dozens of columns and at most two thousand rows: a solver library would weigh more than all the rest.
    """
    rows, columns = patterns.shape
    tableau = np.zeros((rows + 1, columns + 1))
    tableau[:rows, :columns] = patterns
    tableau[:rows, columns] = 1 + _NO_CYCLES * np.arange(1, rows + 1) / rows
    tableau[rows, :columns] = -weights
    basic = -1 - np.arange(rows)  # slack of row i is -1 - i, variable j is j
    nonbasic = np.arange(columns)
    for _ in range(20 * columns + 200):
        entering = int(np.argmin(tableau[rows, :columns]))
        if tableau[rows, entering] >= -_ZERO * _ZERO:
            break
        column = tableau[:rows, entering]
        limits = np.where(column > _ZERO, tableau[:rows, columns] / np.where(column > _ZERO, column, 1.0), np.inf)
        leaving = int(np.argmin(limits))
        if not np.isfinite(limits[leaving]):
            break
        pivot = tableau[leaving, entering]
        row, crossing = tableau[leaving] / pivot, tableau[:, entering].copy()
        tableau -= np.outer(crossing, row)
        tableau[:, entering] = -crossing / pivot
        tableau[leaving] = row
        tableau[leaving, entering] = 1 / pivot
        basic[leaving], nonbasic[entering] = nonbasic[entering], basic[leaving]
    solution = np.zeros(columns)
    for row_index, variable in enumerate(basic):
        if variable >= 0:
            solution[variable] = tableau[row_index, columns]
    return solution
