"""Amounts are integers: milli-GPU, milli-CPU, MiB. No float touches a quota (0.1 + 0.2 fits a quota of 0.3).

Requests round up and capacities round down to these units, so rounding can refuse a pod but never over-commit.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal, InvalidOperation
from functools import lru_cache

GPU = 1000  # milli-GPU of one whole device
MIB = 1024 * 1024

_SUFFIXES = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10) ** 3,
    "M": Decimal(10) ** 6,
    "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12,
    "P": Decimal(10) ** 15,
    "E": Decimal(10) ** 18,
    "Ki": Decimal(2) ** 10,
    "Mi": Decimal(2) ** 20,
    "Gi": Decimal(2) ** 30,
    "Ti": Decimal(2) ** 40,
    "Pi": Decimal(2) ** 50,
    "Ei": Decimal(2) ** 60,
}
_LONGEST_QUANTITY = 64
# The default of 28 digits would round what is written with more, down as well as up.
_EXACT = Context(prec=200)
_LARGEST = Decimal(2) ** 62
_LARGEST_AMOUNT = 2**50  # thousands of them still add up within 64 bits


@dataclass(frozen=True, slots=True)
class Amounts:
    """What a pod asks for, a queue holds or a quota allows: milli-GPU, milli-CPU and MiB of memory."""

    gpu_milli: int = 0
    cpu_milli: int = 0
    memory_mib: int = 0

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(
            self.gpu_milli + other.gpu_milli,
            self.cpu_milli + other.cpu_milli,
            self.memory_mib + other.memory_mib,
        )

    def __sub__(self, other: Amounts) -> Amounts:
        return Amounts(
            self.gpu_milli - other.gpu_milli,
            self.cpu_milli - other.cpu_milli,
            self.memory_mib - other.memory_mib,
        )


NOTHING = Amounts()


@lru_cache(maxsize=4096)
def parse_quantity(text: str | int | float) -> Decimal:
    """A Kubernetes quantity ("500m", "1.5Gi", 2, "1e3") as an exact number of its base unit.

    Raises ValueError for anything else, and for amounts beyond 2^62. Cost: cached, the same texts come again.
    """
    written = str(text)
    if len(written) > _LONGEST_QUANTITY or not written.isascii():
        raise ValueError(f"not a quantity: {written[:_LONGEST_QUANTITY]!r}")
    number = written.rstrip("EPTGMkimunK")
    suffix = written[len(number) :]
    if suffix not in _SUFFIXES or number != number.strip() or "_" in number:
        raise ValueError(f"not a quantity: {written!r}")
    try:
        value = _EXACT.multiply(Decimal(number), _SUFFIXES[suffix])
    except (InvalidOperation, ArithmeticError) as error:
        raise ValueError(f"not a quantity: {written!r}") from error
    if not value.is_finite() or abs(value) > _LARGEST:
        raise ValueError(f"not a finite quantity below 2^62: {written!r}")
    return value


def cpu_milli(text: str | int | float, *, up: bool) -> int:
    """Milli-CPU of a CPU quantity, rounded up (a request) or down (a capacity). Raises ValueError."""
    return _scaled(parse_quantity(text), Decimal(1000), up)


def memory_mib(text: str | int | float, *, up: bool) -> int:
    """MiB of a memory quantity, rounded up (a request) or down (a capacity). Raises ValueError."""
    return _scaled(parse_quantity(text), Decimal(1) / MIB, up)


def count(text: str | int | float) -> int:
    """A whole number of things (GPUs, pods). Raises ValueError when it is not whole."""
    value = parse_quantity(text)
    if value != value.to_integral_value():
        raise ValueError(f"not a whole number: {text!r}")
    return int(value)


def _scaled(value: Decimal, factor: Decimal, up: bool) -> int:
    scaled = _EXACT.multiply(value, factor)
    whole = int(scaled.to_integral_value(rounding=ROUND_CEILING if up else ROUND_FLOOR, context=_EXACT))
    if abs(whole) > _LARGEST_AMOUNT:
        raise ValueError(f"beyond any machine: {whole}")
    return whole


def format_milli(milli: int) -> str:
    """Thousandths as people write them: 1500 is "1.5", 4000 is "4", -1 is "-0.001"."""
    sign, milli = ("-", -milli) if milli < 0 else ("", milli)
    whole, rest = divmod(milli, 1000)
    return f"{sign}{whole}" if not rest else f"{sign}{whole}.{rest:03d}".rstrip("0")


def cpu_quantity(milli: int) -> str:
    """Milli-CPU as the API server writes it: 2000 is "2", 500 is "500m"."""
    return f"{milli}m" if milli % 1000 else str(milli // 1000)


def memory_quantity(size: int) -> str:
    """Bytes as the API server writes them: the largest unit that they are a whole number of."""
    for suffix in ("Gi", "Mi", "Ki"):
        unit = int(_SUFFIXES[suffix])
        if size and size % unit == 0:
            return f"{size // unit}{suffix}"
    return str(size)


def format_gb(mib: int) -> str:
    """MiB as decimal gigabytes with at most three decimals, for messages."""
    return format_milli(round(mib * MIB / 1_000_000))
