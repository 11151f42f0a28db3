from fractions import Fraction

import pytest

from extender.emulator import quantity


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("0.5", "500m"),
        ("1", "1"),
        ("1000", "1k"),
        ("1500m", "1500m"),
        ("2000m", "2"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("0.5Ki", "512"),
        ("1e3", "1e3"),
        ("110", "110"),
        ("0", "0"),
        ("-2", "-2"),
        ("0.0000000001", "1n"),
    ],
)
def test_the_server_stores_one_spelling(text: str, stored: str) -> None:
    assert quantity.canonical(text) == stored


def test_values_are_exact() -> None:
    assert quantity.value_of("0.1") + quantity.value_of("0.2") == Fraction(3, 10)


@pytest.mark.parametrize("text", ["", "one", "1 Gi", "0x10", "1Gi2", "NaN", "--1"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(quantity.QuantityError):
        quantity.canonical(text)
