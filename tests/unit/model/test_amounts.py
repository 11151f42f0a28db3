from __future__ import annotations

from decimal import Decimal

import pytest

from extender.model import amounts
from extender.model.amounts import Amounts


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", "0"),
        (2, "2"),
        (1.5, "1.5"),
        ("500m", "0.5"),
        ("1.5Gi", "1610612736"),
        ("1e3", "1000"),
        ("1E3", "1000"),  # an exponent, not exa
        ("1E", "1e18"),
        ("1Ei", str(2**60)),
        ("100u", "0.0001"),
        ("3n", "0.000000003"),
        ("10k", "10000"),
        ("10Ki", "10240"),
        (".5", "0.5"),
        ("-1", "-1"),
        ("+1", "1"),
    ],
)
def test_a_quantity_is_exact(text: str | int | float, value: str) -> None:
    assert amounts.parse_quantity(text) == Decimal(value)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "NaN", "nan", "sNaN", "inf", "-Infinity", "1e309", "1e999999999999", "0x10", "1_000", " 1", "1 ",
        "1\n", "½", "١", "1Kib", "1K", "1 Gi", "Gi", "m", "1mm", "--1", "1,5", "True", "9" * 65, str(2**63), "5Ei",
        "1" * 400,
    ],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        amounts.parse_quantity(text)


@pytest.mark.parametrize(
    ("text", "up", "milli"),
    [("1", True, 1000), ("100m", True, 100), ("1u", True, 1), ("1u", False, 0), ("1500u", False, 1)],
)
def test_cpu_rounds_requests_up_and_capacities_down(text: str, up: bool, milli: int) -> None:
    assert amounts.cpu_milli(text, up=up) == milli


@pytest.mark.parametrize(
    ("text", "up", "mib"),
    [
        ("1Gi", True, 1024),
        ("1G", True, 954),
        ("1G", False, 953),
        ("1", True, 1),
        ("1", False, 0),
        ("100Mi", False, 100),
    ],
)
def test_memory_rounds_requests_up_and_capacities_down(text: str, up: bool, mib: int) -> None:
    assert amounts.memory_mib(text, up=up) == mib


def test_a_count_is_whole() -> None:
    assert amounts.count("2") == amounts.count(2) == amounts.count("2.0") == amounts.count("2000m") == 2
    with pytest.raises(ValueError, match="not a whole number"):
        amounts.count("0.5")


def test_a_request_rounds_up_however_long_it_is_written() -> None:
    # 28 digits are Decimal's default precision: arithmetic in it would round this down to exactly one MiB.
    assert amounts.memory_mib("1048576." + "0" * 30 + "1", up=True) == 2


def test_amounts_add_and_subtract() -> None:
    assert Amounts(1, 2, 3) + Amounts(10, 20, 30) == Amounts(11, 22, 33)
    assert Amounts(1, 2, 3) - Amounts(1, 2, 3) == amounts.NOTHING


@pytest.mark.parametrize(
    ("milli", "text"),
    [(0, "0"), (1000, "1"), (1500, "1.5"), (100, "0.1"), (1, "0.001"), (4000, "4"), (-1, "-0.001"), (-1500, "-1.5")],
)
def test_thousandths_read_as_people_write_them(milli: int, text: str) -> None:
    assert amounts.format_milli(milli) == text


@pytest.mark.parametrize(("mib", "text"), [(0, "0"), (1024, "1.074"), (954, "1"), (100, "0.105")])
def test_memory_reads_as_decimal_gigabytes(mib: int, text: str) -> None:
    assert amounts.format_gb(mib) == text


@pytest.mark.parametrize(
    ("milli", "text"), [(0, "0"), (1000, "1"), (500, "500m"), (1500, "1500m"), (1, "1m"), (12000, "12")]
)
def test_cpu_is_written_as_the_api_server_writes_it(milli: int, text: str) -> None:
    assert amounts.cpu_quantity(milli) == text
    assert amounts.cpu_milli(text, up=False) == milli


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0"), (1, "1"), (1024, "1Ki"), (1025, "1025"), (200 << 20, "200Mi"), (3 << 30, "3Gi"), (3 << 29, "1536Mi")],
)
def test_memory_is_written_as_the_api_server_writes_it(size: int, text: str) -> None:
    assert amounts.memory_quantity(size) == text
    assert amounts.parse_quantity(text) == size
