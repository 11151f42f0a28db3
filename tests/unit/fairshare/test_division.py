"""Fair shares of one resource: behaviour.md 6.4 and vectors F1 to F18."""

from __future__ import annotations

from fractions import Fraction

import pytest

from extender.fairshare.division import Claim, divide


def gpus(number: float) -> int:
    return round(number * 1000)


def q(
    deserved: float | None,
    weight: int,
    requested: float,
    *,
    limit: float | None = None,
    priority: int = 100,
    usage: Fraction = Fraction(0),
) -> Claim:
    return Claim(
        requested=gpus(requested),
        deserved=None if deserved is None else gpus(deserved),
        limit=None if limit is None else gpus(limit),
        weight=weight,
        priority=priority,
        usage=usage,
    )


@pytest.mark.parametrize(
    ("total", "claims", "shares"),
    [
        pytest.param(8, [q(3, 3, 10), q(1, 1, 10)], [6, 2], id="F1 surplus by weight"),
        pytest.param(8, [q(2, 1, 6), q(2, 3, 6)], [3, 5], id="F2"),
        pytest.param(11, [q(2, 1, 10), q(2, 4, 10)], [3, 8], id="F3 the unit goes to the larger remainder"),
        pytest.param(11, [q(2, 2, 6), q(2, 2, 6)], [6, 5], id="F4 equal remainders: the older"),
        pytest.param(12, [q(2, 2, 6, limit=5), q(2, 2, 6)], [5, 6], id="F5 limit"),
        pytest.param(15, [q(2, 2, 6), q(2, 2, 6)], [6, 6], id="F6 more than is wanted"),
        pytest.param(6, [q(2, 100, 6, priority=1), q(2, 1, 6, priority=2)], [2, 4], id="F7 priority beats weight"),
        pytest.param(4, [q(2, 2, 6, priority=1), q(2, 2, 6, priority=2)], [2, 2], id="F8 quota knows no priority"),
        pytest.param(36, [q(10, 2, 40), q(6, 3, 40), q(0, 1, 40)], [17, 16, 3], id="F9"),
        pytest.param(20, [q(0, 2, 40), q(0, 3, 40), q(0, 1, 40)], [7, 10, 3], id="F10"),
        pytest.param(10, [q(0, 1, 2), q(0, 1, 10), q(0, 1, 10)], [2, 4, 4], id="F11 two rounds"),
        pytest.param(4, [q(1, 1, 4), q(1, 1, 4)], [2, 2], id="F12"),
        pytest.param(7, [q(3, 0, 5)], [3], id="F13 weight 0 has no part in the surplus"),
        pytest.param(5, [q(2, 2, 5, priority=2), q(2, 2, 5, priority=2), q(1, 2, 0, priority=1)], [3, 2, 0], id="F14"),
        pytest.param(1, [q(3, 0, 2)], [2], id="F15 over-subscribed quota is not scaled down"),
        pytest.param(10, [q(4, 2, 10), q(4, 2, 3), q(0, 1, 10)], [6, 3, 1], id="F16"),
        pytest.param(2, [q(3, 0, 1.5)], [1.5], id="F17 part of a GPU"),
        pytest.param(10, [q(5, 5, 7), q(5, 5, 2), q(5, 5, 2)], [6, 2, 2], id="F18 in GPUs"),
        pytest.param(12, [q(2, 2, 6), q(2, 2, 6)], [6, 6], id="exactly what is wanted"),
        pytest.param(6, [q(2, 2, 6, priority=1), q(2, 2, 6, priority=2)], [2, 4], id="priority"),
        pytest.param(8, [q(4, 4, 7), q(2, 2, 3)], [5, 3], id="1.33 and 0.67 of a surplus of 2"),
        pytest.param(9, [q(4, 4, 8), q(4, 4, 3), q(10, 10, 1)], [5, 3, 1], id="three queues"),
        pytest.param(100, [q(20, 1, 100), q(20, 3, 30), q(0, 1, 100)], [45, 30, 25], id="a second round for the rest"),
        pytest.param(4, [q(None, 1, 9), q(1, 1, 9)], [4, 1], id="unlimited quota is the total"),
        pytest.param(2, [q(0, 1, 1.5), q(0, 1, 1.5)], [1, 1], id="whole GPUs only, nothing left"),
        pytest.param(3, [q(0, 1, 1.5), q(0, 1, 1.7)], [1.5, 1.5], id="the last unit is cut at what is left"),
        pytest.param(3, [q(0, 3, 1.2), q(0, 2, 4)], [1.2, 1.8], id="a rest below one unit"),
        pytest.param(-1, [q(None, 1, 9)], [0], id="a pool that others overfill"),
        pytest.param(5, [], [], id="nobody"),
    ],
)
def test_gpus(total: float, claims: list[Claim], shares: list[float]) -> None:
    assert divide(gpus(total), claims, unit=1000) == [gpus(share) for share in shares]


def test_the_leftover_unit_is_capped_at_what_is_still_asked_for() -> None:
    # 1.5 each: 1 in the round, then the older is given its outstanding 0.2 and the rest goes on to the younger.
    assert divide(3000, [q(0, 1, 1.2), q(0, 1, 3)], unit=1000) == [1200, 1800]
    assert divide(3000, [q(0, 1, 1.7), q(0, 1, 1.8)], unit=1000) == [1700, 1300]


def test_f18_cpu_is_divided_to_the_millicore() -> None:
    claims = [Claim(7000, deserved=5000, weight=5000), *[Claim(2000, deserved=5000, weight=5000)] * 2]
    assert divide(10_000, claims) == [6000, 2000, 2000]
    assert divide(100, [Claim(100, deserved=0)] * 3) == [34, 33, 33]


@pytest.mark.parametrize(
    ("k", "usage", "shares"),
    [
        pytest.param(1, ["1/2", "0"], [3, 7], id="weights 1/2 and 1"),
        pytest.param(1, ["1", "0"], [0, 10], id="never below nothing"),
        pytest.param(0, ["1", "0"], [5, 5], id="k 0: the past does not count"),
        pytest.param(1, ["0", "0"], [5, 5], id="no past"),
        pytest.param(1, ["1", "1"], [0, 0], id="everybody had more than enough"),
    ],
)
def test_past_use_counts_against_the_weight(k: int, usage: list[str], shares: list[int]) -> None:
    claims = [q(0, 1, 10, usage=Fraction(used)) for used in usage]
    assert divide(10_000, claims, unit=1000, k=Fraction(k)) == [gpus(share) for share in shares]
