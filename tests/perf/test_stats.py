from __future__ import annotations

import pytest

from perf import stats


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        pytest.param([7.0], 0.5, 7.0, id="one value is every percentile"),
        pytest.param([3.0, 1.0, 2.0], 0.5, 2.0, id="the order does not matter"),
        pytest.param([1.0, 2.0], 0.5, 1.0, id="a value that was measured, no mean"),
        pytest.param([float(n) for n in range(1, 101)], 0.99, 99.0, id="p99 of a hundred is the 99th"),
        pytest.param([float(n) for n in range(1, 101)], 0.07, 7.0, id="no rounding error pushes it on"),
        pytest.param([1.0, 2.0, 3.0], 0.0, 1.0, id="the smallest"),
        pytest.param([1.0, 2.0, 3.0], 1.0, 3.0, id="the largest"),
    ],
)
def test_percentile(values: list[float], share: float, expected: float) -> None:
    assert stats.percentile(values, share) == expected


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1.0], -0.1), ([1.0], 1.1)])
def test_percentile_refuses(values: list[float], share: float) -> None:
    with pytest.raises(ValueError, match=r"no values|share"):
        stats.percentile(values, share)


def test_spread() -> None:
    assert stats.spread([3.0, 1.0, 2.0]) == stats.Spread(2.0, 1.0, 3.0)
    assert stats.spread([1.0, 2.0]).median == 1.5
    assert stats.spread([4.0]).as_json() == {"median": 4.0, "low": 4.0, "high": 4.0}
    with pytest.raises(ValueError, match="no values"):
        stats.spread([])


def test_ratios_are_of_the_same_round() -> None:
    # The machine was twice as slow in the second round: each round's ratio is 2 all the same.
    assert stats.ratios([2.0, 4.0], [1.0, 2.0]) == stats.Spread(2.0, 2.0, 2.0)
    with pytest.raises(ValueError, match=r"shorter|longer"):
        stats.ratios([1.0], [1.0, 2.0])
