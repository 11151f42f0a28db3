"""Quantities against exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extender.model import amounts

SUFFIXES = {
    "": Fraction(1), "n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "k": Fraction(1000),
    "M": Fraction(10**6), "G": Fraction(10**9), "T": Fraction(10**12), "P": Fraction(10**15), "E": Fraction(10**18),
    "Ki": Fraction(2**10), "Mi": Fraction(2**20), "Gi": Fraction(2**30), "Ti": Fraction(2**40), "Pi": Fraction(2**50),
    "Ei": Fraction(2**60),
}  # fmt: skip

digits = st.text("0123456789", min_size=1, max_size=20)
numbers = st.one_of(
    digits,
    st.builds("{}.{}".format, digits, digits),
    st.builds(".{}".format, digits),
    st.builds("{}e{}".format, digits, st.integers(-20, 20)),
    st.builds("{}.{}E{}".format, digits, digits, st.integers(-20, 20)),
)
quantities = st.tuples(st.sampled_from(["", "-", "+"]), numbers, st.sampled_from(sorted(SUFFIXES)))


@settings(max_examples=400)
@given(quantities)
def test_a_quantity_is_the_fraction_it_says(parts: tuple[str, str, str]) -> None:
    sign, number, suffix = parts
    exact = Fraction(sign + number) * SUFFIXES[suffix]
    text = sign + number + suffix
    if abs(exact) > 2**62:
        with pytest.raises(ValueError, match="not a"):
            amounts.parse_quantity(text)
        return
    assert Fraction(amounts.parse_quantity(text)) == exact
    for up, rounded in ((True, math.ceil), (False, math.floor)):
        milli, mib = rounded(exact * 1000), rounded(exact / 2**20)
        if abs(milli) <= 2**50:
            assert amounts.cpu_milli(text, up=up) == milli
        else:
            with pytest.raises(ValueError, match="beyond any machine"):
                amounts.cpu_milli(text, up=up)
        assert amounts.memory_mib(text, up=up) == mib
    if exact.denominator == 1:
        assert amounts.count(text) == exact
    else:
        with pytest.raises(ValueError, match="not a whole number"):
            amounts.count(text)


@settings(max_examples=300)
@given(st.one_of(st.text(max_size=12), st.text("0123456789.eE+-_ nulKMGi", max_size=80), st.floats(), st.integers()))
def test_any_text_is_a_finite_quantity_or_refused(text: str | float) -> None:
    try:
        value = amounts.parse_quantity(text)
    except ValueError:
        return
    assert value.is_finite()
    assert abs(value) <= 2**62


@given(st.integers(-(10**9), 10**9))
def test_thousandths_read_back(milli: int) -> None:
    assert Fraction(amounts.format_milli(milli)) == Fraction(milli, 1000)
