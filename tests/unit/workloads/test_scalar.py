"""One value: types, sameness, exact amounts."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from extender.model.workload import Type
from extender.workloads import scalar


@pytest.mark.parametrize(
    ("value", "type_", "found"),
    [
        ("0.1", Type.NUMBER, Fraction(1, 10)),
        (0.1, Type.NUMBER, Fraction(1, 10)),
        (2, Type.NUMBER, Fraction(2)),
        ("-1.5e1", Type.NUMBER, Fraction(-15)),
        ("500m", Type.NUMBER, None),
        ("", Type.NUMBER, None),
        ("1_000", Type.NUMBER, None),
        (" 1", Type.NUMBER, None),
        ("1\n", Type.NUMBER, None),
        ("NaN", Type.NUMBER, None),
        ("1e999", Type.NUMBER, None),
        ("1e50", Type.NUMBER, None),
        (10**50, Type.NUMBER, None),
        ("١", Type.NUMBER, None),
        ("9" * 65, Type.NUMBER, None),
        (True, Type.NUMBER, None),
        ([1], Type.NUMBER, None),
        ("95.4Mi", Type.QUANTITY, Fraction(954 * 2**20, 10)),
        ("1E", Type.QUANTITY, Fraction(10**18)),
        ("1E3", Type.QUANTITY, Fraction(1000)),
        ("500m", Type.QUANTITY, Fraction(1, 2)),
        ("1GB", Type.QUANTITY, None),
        ("1 G", Type.QUANTITY, None),
        ("Gi", Type.QUANTITY, None),
        (5, Type.INTEGER, Fraction(5)),
        (5.0, Type.INTEGER, None),
        ("5", Type.INTEGER, None),
        (False, Type.INTEGER, None),
        ("1h30m", Type.DURATION, Fraction(5400)),
        ("100ms", Type.DURATION, Fraction(1, 10)),
        (5, Type.DURATION, None),
        ("5", Type.DURATION, None),
    ],
)
def test_amounts_are_exact_or_none(value: Any, type_: Type, found: Fraction | None) -> None:
    assert scalar.amount(value, type_) == found


@pytest.mark.parametrize(
    ("one", "other", "type_", "answer"),
    [
        ("x", "x", Type.NUMBER, True),
        ("x", "1", Type.NUMBER, False),
        (True, 1, Type.OBJECT, False),
        ({"a": [1, {"b": True}]}, {"a": [1, {"b": True}]}, Type.OBJECT, True),
        ({"a": 1}, {"a": 1, "b": None}, Type.OBJECT, False),
        ({"a": [1]}, {"a": [1, 2]}, Type.OBJECT, False),
        ({"a": 1}, {"a": True}, Type.OBJECT, False),
        ("0", False, Type.TEXT, False),
        (0, False, Type.BOOLEAN, False),
        (None, None, Type.TEXT, True),
    ],
)
def test_sameness_is_that_of_json(one: Any, other: Any, type_: Type, answer: bool) -> None:
    assert scalar.same(one, other, type_) is answer
    assert scalar.same(other, one, type_) is answer


@pytest.mark.parametrize(
    ("value", "source", "factor", "target", "found"),
    [
        ("8", Type.NUMBER, "0.5", Type.NUMBER, "4"),
        ("0.3", Type.NUMBER, 3, Type.NUMBER, "0.9"),
        (3, Type.INTEGER, "0.5", Type.NUMBER, "1.5"),
        (4, Type.INTEGER, "0.5", Type.INTEGER, 2),
        (3, Type.INTEGER, "0.5", Type.INTEGER, "1.5"),
        ("8Gi", Type.QUANTITY, "0.25", Type.QUANTITY, "2Gi"),
        ("500m", Type.QUANTITY, "2", Type.NUMBER, "1"),
        ("1e3", Type.QUANTITY, "2", Type.QUANTITY, "2000"),
        ("x", Type.NUMBER, "2", Type.NUMBER, None),
        ("1", Type.NUMBER, "x", Type.NUMBER, None),
        ("5m", Type.DURATION, "2", Type.NUMBER, None),
    ],
)
def test_a_part_of_a_value(value: Any, source: Type, factor: Any, target: Type, found: Any) -> None:
    assert scalar.part(value, source, factor, target) == found


def test_a_wrong_value_is_quoted_in_short() -> None:
    assert scalar.shown("ä") == '"ä"'
    assert scalar.shown([True, None]) == "[true, null]"
    assert scalar.shown("x" * 100) == f'"{"x" * 62}…'
