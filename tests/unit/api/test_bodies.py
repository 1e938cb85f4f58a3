"""Packed bodies: unpacked when they came whole, and never otherwise."""

from __future__ import annotations

import gzip
import zlib

import pytest

from spawn.api.bodies import unpack
from spawn.errors import BodyTooLarge, InvalidHeader, InvalidRequest

BODY = b'{"numbers":[1,22,333,4444]}' * 3
LIMIT = 1_000


def raw_deflate(data: bytes) -> bytes:
    """Return a deflate stream without zlib's header."""
    packing = zlib.compressobj(wbits=-15)
    return packing.compress(data) + packing.flush()


PACKED = [
    ("gzip", gzip.compress(BODY)),
    ("deflate", zlib.compress(BODY)),
    ("deflate", raw_deflate(BODY)),
]


@pytest.mark.parametrize(("encoding", "packed"), PACKED)
def test_what_came_whole_is_unpacked_and_a_prefix_of_it_refused(
    encoding: str, packed: bytes
) -> None:
    """Cut anywhere, it has no value: `12` of `12345` is another number."""
    assert unpack(packed, encoding, LIMIT) == BODY
    for end in range(1, len(packed)):
        with pytest.raises(InvalidRequest, match="did not arrive whole"):
            unpack(packed[:end], encoding, LIMIT)
    with pytest.raises(InvalidRequest, match="did not arrive whole"):
        unpack(packed + b"x", encoding, LIMIT)
    with pytest.raises(BodyTooLarge):
        unpack(packed, encoding, len(BODY) - 1)
    assert unpack(packed, encoding, len(BODY)) == BODY


def test_a_damaged_stream_is_told_in_words() -> None:
    """Without zlib's numbers."""
    packed = bytearray(gzip.compress(BODY))
    packed[-6] ^= 1
    with pytest.raises(InvalidRequest, match=r"gzip stream is damaged \(incorrect data check\)"):
        unpack(bytes(packed), "gzip", LIMIT)


def test_members_put_together_are_one_body_within_bounds() -> None:
    """As `cat a.gz b.gz` writes them."""
    assert unpack(gzip.compress(b"12") + gzip.compress(b"34"), "gzip", LIMIT) == b"1234"
    with pytest.raises(BodyTooLarge):
        unpack(gzip.compress(b"12") + gzip.compress(b"34"), "gzip", 3)
    with pytest.raises(InvalidRequest):
        unpack(gzip.compress(b"") * 1_000, "gzip", LIMIT)


def test_other_encodings_are_refused() -> None:
    """A body must not be taken for what it is not."""
    assert unpack(b"5", "identity", LIMIT) == b"5"
    for encoding in ("br", "gzip, gzip", "zstd", "foo"):
        with pytest.raises(InvalidHeader, match="must be gzip or deflate"):
            unpack(b"5", encoding, LIMIT)
