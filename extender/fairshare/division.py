"""Divide one resource among sibling queues: deserved quota first, the rest by over-quota weight (behaviour.md 6.4).

Weighted max-min fairness by progressive filling, one priority band after the other. Inside a round a queue that would
not be satisfied gets whole units only, and what the rounding left over is handed out at the end, a unit each, to those
who lost most by it. Integers throughout: two replicas that divide the same claims agree on the last milli-GPU.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

NO_USAGE = Fraction(0)
DEFAULT_K = Fraction(1)


@dataclass(frozen=True, slots=True)
class Claim:
    """What one queue brings to the division of one resource, in that resource's integer unit."""

    requested: int  # running and pending together
    deserved: int | None = None  # None: everything there is
    limit: int | None = None
    weight: int = 1
    priority: int = 100
    usage: Fraction = NO_USAGE  # past use, as a part of the whole cluster


def divide(total: int, claims: Sequence[Claim], *, unit: int = 1, k: Fraction = DEFAULT_K) -> list[int]:
    """The fair share of each claim, in the order given, which is the order of age: the older of two equals goes first.

    unit: the surplus is given in multiples of it, except where less satisfies a queue (1000 for milli-GPU).
    k:    how strongly past use counts against a queue's weight.

    No share is above min(limit, requested). Their sum is at most `total`, or the sum of what is guaranteed where that
    is more: over-subscribed quota is not scaled down. Cost: O(rounds x claims), rounds <= claims.
    """
    wanted = [claim.requested if claim.limit is None else min(claim.limit, claim.requested) for claim in claims]
    everything = max(0, total)
    shares = [
        max(0, min(everything if claim.deserved is None else claim.deserved, want))
        for claim, want in zip(claims, wanted, strict=True)
    ]
    surplus = total - sum(shares)
    if surplus <= 0:
        return shares
    lost_by_band = []
    for band in _bands(claims):
        surplus, lost = _fill(surplus, band, claims, wanted, shares, unit, k)
        lost_by_band.append(lost)
        if not surplus:
            return shares
    for lost in lost_by_band:
        for index in sorted(lost, key=lambda index: (-lost[index], index)):
            given = min(unit, surplus, wanted[index] - shares[index])
            shares[index] += given
            surplus -= given
    return shares


def _bands(claims: Sequence[Claim]) -> Iterable[list[int]]:
    """Indices of the claims that can have surplus at all, the highest priority first."""
    bands: dict[int, list[int]] = {}
    for index, claim in enumerate(claims):
        if claim.weight > 0:
            bands.setdefault(claim.priority, []).append(index)
    return (bands[priority] for priority in sorted(bands, reverse=True))


def _fill(
    surplus: int,
    band: list[int],
    claims: Sequence[Claim],
    wanted: list[int],
    shares: list[int],
    unit: int,
    k: Fraction,
) -> tuple[int, dict[int, Fraction]]:
    """Rounds over one band, adding to `shares`. Returns what is left and what rounding took from whom."""
    lost: dict[int, Fraction] = {}
    again = True
    while again and surplus:
        again = False
        unsatisfied = [index for index in band if wanted[index] > shares[index]]
        weights = _weights([claims[index] for index in unsatisfied], k)
        whole = sum(weights)
        if not whole:
            break
        amount = surplus
        for index, weight in zip(unsatisfied, weights, strict=True):
            need = wanted[index] - shares[index]
            entitled = amount * weight  # in parts of 1/whole
            if need * whole <= entitled:
                given = need
                lost.pop(index, None)
                again = again or need * whole < entitled
            else:
                given = entitled // (whole * unit) * unit
                if rest := entitled - given * whole:
                    lost[index] = Fraction(rest, whole)
            shares[index] += given
            surplus -= given
    return surplus, lost


def _weights(claims: list[Claim], k: Fraction) -> list[int]:
    """Each weight corrected by past use, max(0, n + k(n - u)) with n its part of all, as integers in proportion."""
    whole = sum(claim.weight for claim in claims)
    if all(claim.usage == 0 for claim in claims):
        return [claim.weight for claim in claims]  # every weight would be scaled alike
    exact = [max(NO_USAGE, claim.weight * (1 + k) - k * whole * claim.usage) for claim in claims]
    scale = lcm(*(weight.denominator for weight in exact))
    return [int(weight * scale) for weight in exact]
