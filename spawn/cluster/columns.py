"""Columns of whole numbers in few bits (pure): how assignments and what is held go over the wire.

A column is its least value, then what each value is above it, in a Rice code: the low `k` bits as
they are, the rest as so many ones and a zero. `k` is the one that makes the column shortest; a
column of equal values takes 12 bits and the value's own, whatever its length. Gaps between sorted
numbers come within a bit of the fewest possible: of 100,000 partitions 100 take some 140 bytes.

Bits are filled from the high end of each byte; what is left of the last one is 0. How many values a
column has is known to who reads it. Columns that a newer release adds stand behind those known.

Source: Rice, Some practical universal noiseless coding techniques, 1979.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

__all__ = ["ColumnReader", "ColumnWriter", "CutShort"]

_FIELD_BITS: Final = 6
"""Of `k`, and of the least value's length: enough for 62 bits."""
_ALL_EQUAL: Final = 63
_VALUE_MAX: Final = 2**62 - 1


class CutShort(ValueError):
    """The bits end within a column."""


class ColumnWriter:
    """Makes bytes of columns."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    def column(self, values: Sequence[int]) -> None:
        """Add a column; one without values takes no bits."""
        if not values:
            return
        least, most = min(values), max(values)
        assert 0 <= least <= most <= _VALUE_MAX, "a value that no column holds"
        parts = self._parts
        above = [value - least for value in values]
        k = _ALL_EQUAL if least == most else _best(above)
        parts.append(f"{k:06b}{least.bit_length():06b}")
        if least:
            parts.append(f"{least:b}")
        if k == _ALL_EQUAL:
            return
        if k == 0:
            parts += ["1" * value + "0" for value in above]
        else:
            low = (1 << k) - 1
            parts += [f"{'1' * (value >> k)}0{value & low:0{k}b}" for value in above]

    def finish(self) -> bytes:
        """Return all of it."""
        bits = "".join(self._parts)
        size = (len(bits) + 7) // 8
        return int(bits.ljust(size * 8, "0") or "0", 2).to_bytes(size)


def _best(above: Sequence[int]) -> int:
    """Return the `k` for the fewest bits: it is near the mean's logarithm."""
    near = max((sum(above) // len(above)).bit_length() - 1, 0)
    return min(
        range(max(near - 1, 0), min(near + 2, _ALL_EQUAL)),
        key=lambda k: sum([value >> k for value in above]) + k * len(above),
    )


class ColumnReader:
    """Takes columns out of bytes, in the order in which they were added."""

    def __init__(self, data: bytes) -> None:
        size = len(data) * 8
        self._bits = f"{int.from_bytes(data):0{size}b}" if size else ""
        self._at = 0

    def column(self, count: int) -> list[int]:
        """Return the next column, of `count` values. Raises: CutShort."""
        if not count:
            return []
        k = self._number(_FIELD_BITS)
        least = self._number(self._number(_FIELD_BITS))
        if k == _ALL_EQUAL:
            return [least] * count
        bits, at = self._bits, self._at
        values: list[int] = []
        try:
            for _ in range(count):
                zero = bits.index("0", at)
                at, high = zero + 1 + k, zero - at
                values.append(least + (high << k | int(bits[zero + 1 : at], 2) if k else high))
        except ValueError as error:  # no zero, or no bits behind it
            raise CutShort("the bits end within a column") from error
        if at > len(bits):
            raise CutShort("the bits end within a value")
        self._at = at
        return values

    def _number(self, size: int) -> int:
        start, self._at = self._at, self._at + size
        if self._at > len(self._bits):
            raise CutShort("the bits end within a column's head")
        return int(self._bits[start : self._at], 2) if size else 0
