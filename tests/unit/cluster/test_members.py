"""What nodes say of themselves, and what they are given, as bytes."""

import zlib
from collections.abc import Mapping, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawn.cluster.columns import ColumnWriter
from spawn.cluster.members import (
    HeldRange,
    Member,
    UnreadableAssignment,
    UnreadableMember,
    decode_assignment,
    decode_member,
    encode_assignment,
    encode_member,
    held_ranges,
)

_MEMBER = Member(
    node_id=bytes(range(16)),
    mesh="10.0.0.7:7000",
    http="10.0.0.7:9001",
    release="0.2.0",
    protocol=2,
    protocol_min=1,
    topics={"spawn.shop.Order": 12, "spawn.shop.Cart": 48},
    held={"spawn.shop.Cart": (HeldRange(0, 3, 1), HeldRange(3, 4, 7), HeldRange(40, 48, 1))},
)
# What release 0.2.0 writes: it must stay readable.
_RECORDED = bytes.fromhex(
    "030000000f0c4cf40000e060007a020e1d001bf0eb58987744808191899985958d9d83938b9b8797"
    "8f7f61ee5a43033d1034b732373030589881e05b1a18182e2c5a6aa067a467b0b08c696139e3c28a"
    "d5c50589e5797ac519f9057a0b4b573927169570f917a5a4160100"
)
# The same in format 2, which nodes wrote while 0.2.0 was made.
_RECORDED_2 = bytes.fromhex(
    "0278daeb58987744808191899985958d9d83938b9b87978f7f61ee5a43033d1034b7323730305898"
    "81e05b1a18182e2c5a6aa067a467b0b08c696139e3c292a6f5c50589e5797ac519f9057ace894525"
    "061b9004fc8b52528b7816164c9cc5c0c0ccc8c0c8aec2c1080067e521e1"
)


_ASSIGNED = bytes.fromhex("03763974a7001e04008dc000f0")
_ASSIGNED_1 = bytes.fromhex("0192ce763974a7929700000304010b0193010401")
_EMPTY = encode_assignment({}, ["t"])
"""Begins an assignment to which random columns may be added."""
_MAP = {"n": bytes(16), "m": "", "h": "", "r": "", "v": 1, "w": 1, "u": "a\nb"}

_NAMES = st.text(st.characters(exclude_characters="\n", codec="utf-8"), min_size=1, max_size=20)
_TOPICS = st.dictionaries(_NAMES, st.integers(1, 300), max_size=6)


@st.composite
def _members(draw: st.DrawFn) -> Member:
    topics = draw(_TOPICS)
    held = {
        topic: held_ranges(
            draw(st.dictionaries(st.integers(0, count - 1), st.integers(0, 9), min_size=1))
        )
        for topic, count in topics.items()
        if draw(st.booleans())
    }
    return Member(
        node_id=draw(st.binary(min_size=16, max_size=16)),
        mesh=draw(st.text()),
        http=draw(st.text()),
        release=draw(st.text()),
        protocol=draw(st.integers(0, 99)),
        protocol_min=draw(st.integers(0, 99)),
        topics=topics,
        held=held,
    )


@given(_members())
def test_a_member_is_read_back_as_it_was(member: Member) -> None:
    """Every field."""
    assert decode_member(encode_member(member)) == member


def test_recorded_metadata_stays_readable() -> None:
    """Nodes of this release and the next form one group."""
    assert decode_member(_RECORDED) == decode_member(_RECORDED_2) == _MEMBER
    # Uncompressed, since zlib's versions compress differently.
    assert _parts(encode_member(_MEMBER)) == _parts(_RECORDED)


def test_recorded_assignments_stay_readable() -> None:
    """Of this release, and of format 1."""
    topics = {"t": 20, "u": 5}
    given = {"t": [0, 1, 2, 7, 19], "u": [4]}
    assert encode_assignment(given, topics) == _ASSIGNED
    assert decode_assignment(_ASSIGNED, topics) == decode_assignment(_ASSIGNED_1, topics) == given


def test_fields_of_a_newer_release_are_ignored() -> None:
    """It may say more of itself."""
    columns, wire = _parts(encode_member(_MEMBER))
    newer = msgspec.msgpack.encode(
        msgspec.msgpack.decode(wire) | {"zone": "eu-1", "load": [1, 2.5]}
    )
    assert decode_member(_joined(columns + b"more", newer)) == _MEMBER


def _parts(data: bytes) -> tuple[bytes, bytes]:
    """Return columns and map."""
    text_at = 5 + int.from_bytes(data[1:5])
    return data[5:text_at], zlib.decompress(data[text_at:], wbits=-15)


def _joined(columns: bytes, wire: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-15)
    text = deflate.compress(wire) + deflate.flush()
    return b"\x03" + len(columns).to_bytes(4) + columns + text


def _with(columns: Sequence[Sequence[int]]) -> bytes:
    """Return the member with other columns."""
    writer = ColumnWriter()
    for values in columns:
        writer.column(values)
    return _joined(writer.finish(), _parts(encode_member(_MEMBER))[1])


def test_what_a_newer_leader_adds_to_an_assignment_is_ignored() -> None:
    """Behind what this release reads."""
    topics = {"a": 3, "b": 2}
    data = encode_assignment({"a": [0, 2], "b": [1]}, topics)
    assert decode_assignment(data + b"more", topics) == {"a": [0, 2], "b": [1]}


def _changed(**fields: object) -> bytes:
    """Return the member in format 1, some of its fields changed."""
    wire = msgspec.msgpack.decode(zlib.decompress(_RECORDED_2[1:]))
    return b"\x01" + msgspec.msgpack.encode(wire | fields)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "format nothing"),
        (b"\x09abc", "format 09"),
        (b"\x01abc", "no member's metadata"),
        (b"\x02abc", "no member's metadata"),
        (encode_member(_MEMBER)[:-4], "no member's metadata"),
        (b"\x02" + zlib.compress(bytes(2 * 1024 * 1024)), "more than 1048576 bytes"),
        (_changed(n=b"short"), "node id has 5 bytes"),
        (_changed(t={"a": 0}), "topic a has 0 partitions"),
        (_changed(t={"a": 2**40}), "partitions"),
        (_changed(t={str(number): 1 for number in range(10_001)}), "hosts 10001 topics"),
        (_changed(p=[[2, 0, 1, 1]]), "no topic that it hosts"),
        (_changed(p=[[]]), "no topic that it hosts"),
        (_changed(p=[[0, 0, 1]]), "no topic that it hosts"),
        (_changed(p=[[0, 0, 49, 1]]), "can't have"),
        (_changed(p=[[0, -1, 1, 1]]), "can't have"),
        (_changed(p=[[0, 0, 0, 1]]), "can't have"),
        (_joined(b"", msgspec.msgpack.encode(_MAP)), "bits end"),
        (_with([[48, 12]]), "bits end"),
        (_with([[0, 12]]), "Cart has 0 partitions"),
        (_with([[48, 12], [0, 13], [0] * 13, [1] * 13, [1] * 13]), "13 ranges"),
        (_with([[1_000_000] * 2, [200_000] * 2, [0], [1], [1]]), "400000 ranges"),
        (_with([[48, 12], [0, 1], [0], [13], [1]]), "can't have"),
        (_with([[48, 12], [0, 1], [0], [0], [1]]), "can't have"),
    ],
)
def test_what_is_no_metadata_is_refused_with_the_reason(data: bytes, text: str) -> None:
    """Nothing of it is believed."""
    with pytest.raises(UnreadableMember, match=text):
        decode_member(data)


@given(st.binary(max_size=60))
def test_random_bytes_are_refused_or_read(data: bytes) -> None:
    """They raise nothing else."""
    for format_byte in (b"", b"\x01", b"\x02", b"\x03", b"\x03\0\0\0\x09", _EMPTY):
        for decode in (decode_member, lambda each: decode_assignment(each, {"t": 3})):
            try:
                decode(format_byte + data)
            except (UnreadableMember, UnreadableAssignment):
                pass


@given(_TOPICS, st.data())
def test_an_assignment_is_read_back_as_it_was(topics: dict[str, int], data: st.DataObject) -> None:
    """Topics without partitions are left out."""
    assignment = {
        topic: sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1)))
        for topic, count in topics.items()
        if data.draw(st.booleans())
    }
    assert decode_assignment(encode_assignment(assignment, topics), topics) == assignment


def test_no_bytes_are_no_partitions() -> None:
    """The coordinator gives that to members whom the leader left out."""
    assert decode_assignment(b"", {"t": 3}) == {}


@pytest.mark.parametrize(
    ("topics", "text"), [({"t": 4, "u": 1}, "hosts other topics"), ({"t": 2}, "no such partitions")]
)
def test_an_assignment_for_another_node_is_refused(topics: Mapping[str, int], text: str) -> None:
    """Numbers of topics mean something only with the same topics."""
    data = encode_assignment({"t": [0, 3]}, ["t"])
    assert decode_assignment(data, {"t": 4}) == {"t": [0, 3]}
    with pytest.raises(UnreadableAssignment, match=text):
        decode_assignment(data, topics)


def test_ranges_say_what_is_held_under_which_epoch() -> None:
    """Neighbours under one epoch share a range."""
    assert held_ranges({4: 1, 0: 1, 1: 1, 2: 2}) == (
        HeldRange(0, 2, 1),
        HeldRange(2, 3, 2),
        HeldRange(4, 5, 1),
    )
