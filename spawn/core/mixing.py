"""Numbers that look random and are the same in every process: for orders that all nodes agree on.

Another constant here is another order, and two releases side by side would not agree (pure).
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

__all__ = ["MASK", "digest", "mix"]

MASK: Final = 2**64 - 1


def digest(data: bytes) -> int:
    """Return 64 bits of a text; Python's own hash differs from process to process."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")


def mix(value: int) -> int:
    """Return 64 bits that all bits of `value` went into: splitmix64's last step.

    A hash of two digests would take four times as long.
    """
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)
