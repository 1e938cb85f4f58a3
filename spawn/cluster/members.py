"""What nodes say of themselves in the group, and what its leader gives them, as bytes (pure).

Metadata and assignments begin with a format byte (1: MessagePack, 2: the same compressed by zlib).
A member's is a map with short keys; unknown keys are ignored, so that a newer release may say more.
Topics' names stand in it once: what is held, and what is assigned, names them by their number in
the sorted list.

Sizes matter: Kafka keeps a group, the metadata and assignments of all its members, as one record,
which its default settings limit to 1 MiB (`bench.scale` measures how far that goes).

Source: design 3.3.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

__all__ = [
    "Assignment",
    "HeldRange",
    "Member",
    "UnreadableAssignment",
    "UnreadableMember",
    "decode_assignment",
    "decode_member",
    "encode_assignment",
    "encode_member",
    "held_ranges",
]

NODE_ID_BYTES: Final = 16

_PLAIN, _COMPRESSED = b"\x01", b"\x02"
_BYTES_MAX: Final = 1024 * 1024
"""Of one member, uncompressed; more is no node of ours."""
_TOPICS_MAX: Final = 10_000
_PARTITIONS_MAX: Final = 1_000_000
"""Of one topic. A number like 2**60 from a broken node must not become a loop here."""

Assignment = Mapping[str, Sequence[int]]
"""Topic -> the numbers of its partitions, in order."""


class UnreadableMember(ValueError):
    """Metadata that no node of this release or the one before could have made."""


class UnreadableAssignment(ValueError):
    """An assignment that was not made for this node, or by a leader that we don't understand."""


class HeldRange(NamedTuple):
    """Partitions `start` to `stop` - 1, held under claims of this epoch (log protocol 2)."""

    start: int
    stop: int
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A node, as it describes itself."""

    node_id: bytes
    """16 random bytes of the process's start: the `owner` of its claims."""
    mesh: str
    """`host:port` for other nodes."""
    http: str
    """`host:port` for people and programs; empty: it serves none."""
    release: str
    """For people."""
    protocol: int
    """The newest version of the mesh protocol that it speaks."""
    protocol_min: int
    """The oldest."""
    topics: Mapping[str, int] = field(default_factory=dict)
    """The topics of the types that it hosts, with the partitions that it knows of each."""
    held: Mapping[str, Sequence[HeldRange]] = field(default_factory=dict)
    """What it holds now, or has begun to take over; of hosted topics, in order."""


class _Wire(msgspec.Struct, omit_defaults=True):
    """The map; a new key has a default and says since which release."""

    n: bytes
    m: str
    h: str
    r: str
    v: int
    w: int
    t: dict[str, int] = {}
    p: list[list[int]] = []
    """For each topic of which something is held: its number, then for each range how far it begins
    behind the end of the one before, its length, its epoch."""


class _Given(msgspec.Struct, array_like=True):
    """An assignment; what a leader of a newer release adds at the end is passed over."""

    checksum: int
    partitions: list[list[int]]
    """For each topic of which something is given: its number, then for each range how far it begins
    behind the end of the one before, and its length."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Wire)
_assignment_decoder = msgspec.msgpack.Decoder(_Given)


def held_ranges(epochs: Mapping[int, int]) -> Sequence[HeldRange]:
    """Return the ranges of partition -> epoch of its claim."""
    found: list[HeldRange] = []
    for partition in sorted(epochs):
        epoch = epochs[partition]
        if found and found[-1].stop == partition and found[-1].epoch == epoch:
            found[-1] = found[-1]._replace(stop=partition + 1)
        else:
            found.append(HeldRange(partition, partition + 1, epoch))
    return tuple(found)


def encode_member(member: Member) -> bytes:
    """Return the metadata of a node; equal members give equal bytes."""
    topics = sorted(member.topics)
    held = [
        [number, *_flat(ranges)]
        for number, topic in enumerate(topics)
        if (ranges := member.held.get(topic))
    ]
    wire = _Wire(
        n=member.node_id,
        m=member.mesh,
        h=member.http,
        r=member.release,
        v=member.protocol,
        w=member.protocol_min,
        t={topic: member.topics[topic] for topic in topics},
        p=held,
    )
    return _packed(_encoder.encode(wire))


def decode_member(data: bytes) -> Member:
    """Return what a node said.

    Raises: UnreadableMember - with what is wrong, for people.
    """
    try:
        wire = _decoder.decode(_unpacked(data))
    except (msgspec.MsgspecError, zlib.error, UnicodeDecodeError, _UnknownFormat) as error:
        raise UnreadableMember(f"it is no member's metadata ({error})") from error
    if len(wire.n) != NODE_ID_BYTES:
        raise UnreadableMember(f"its node id has {len(wire.n)} bytes")
    if len(wire.t) > _TOPICS_MAX:
        raise UnreadableMember(f"it hosts {len(wire.t)} topics")
    for topic, count in wire.t.items():
        if not 0 < count <= _PARTITIONS_MAX:
            raise UnreadableMember(f"topic {topic} has {count} partitions")
    return Member(
        node_id=wire.n,
        mesh=wire.m,
        http=wire.h,
        release=wire.r,
        protocol=wire.v,
        protocol_min=wire.w,
        topics=wire.t,
        held=_held(wire),
    )


class _UnknownFormat(ValueError):
    pass


def _packed(data: bytes) -> bytes:
    compressed = zlib.compress(data, 9)
    return _COMPRESSED + compressed if len(compressed) < len(data) else _PLAIN + data


def _unpacked(data: bytes) -> bytes:
    kind, body = data[:1], data[1:]
    if kind == _PLAIN:
        return body
    if kind != _COMPRESSED:
        raise _UnknownFormat(f"format {kind.hex() or 'nothing'} is not known")
    reader = zlib.decompressobj()
    plain = reader.decompress(body, _BYTES_MAX)
    if not reader.eof:
        raise _UnknownFormat(f"it is cut short, or has more than {_BYTES_MAX} bytes")
    return plain


def _flat(ranges: Iterable[HeldRange]) -> Iterator[int]:
    end = 0
    for start, stop, epoch in ranges:
        yield from (start - end, stop - start, epoch)
        end = stop


def _held(wire: _Wire) -> Mapping[str, Sequence[HeldRange]]:
    topics = sorted(wire.t)
    held: dict[str, Sequence[HeldRange]] = {}
    for each in wire.p:
        number, numbers = (each or [-1])[0], each[1:]
        if not 0 <= number < len(topics) or len(numbers) % 3:
            raise UnreadableMember("what it holds is of no topic that it hosts")
        topic = topics[number]
        ranges: list[HeldRange] = []
        end = 0
        for gap, length, epoch in zip(*[iter(numbers)] * 3, strict=True):
            start = end + gap
            end = start + length
            if gap < 0 or length < 1 or epoch < 0 or end > wire.t[topic]:
                raise UnreadableMember(f"it holds partitions of {topic} that it can't have")
            ranges.append(HeldRange(start, end, epoch))
        held[topic] = tuple(ranges)
    return held


def encode_assignment(assignment: Assignment, topics: Iterable[str]) -> bytes:
    """Return an assignment for a member that hosts these `topics`."""
    names = sorted(topics)
    flat: list[list[int]] = []
    for number, topic in enumerate(names):
        if partitions := assignment.get(topic):
            flat.append([number, *_flat_partitions(partitions)])
    return _packed(_encoder.encode((_checksum(names), flat)))


def _flat_partitions(partitions: Sequence[int]) -> Iterator[int]:
    """Yield for each range how far it begins behind the end of the one before, and its length."""
    end = start = 0
    is_open = False
    for partition in partitions:
        if is_open and partition == end:
            end += 1
            continue
        if is_open:
            yield end - start
        yield partition - end
        start, end, is_open = partition, partition + 1, True
    if is_open:
        yield end - start


def decode_assignment(data: bytes, topics: Mapping[str, int]) -> Assignment:
    """Return what a member that hosts these `topics` was given; of no bytes at all: nothing.

    Raises: UnreadableAssignment.
    """
    if not data:
        return {}
    try:
        given = _assignment_decoder.decode(_unpacked(data))
    except (msgspec.MsgspecError, zlib.error, _UnknownFormat) as error:
        raise UnreadableAssignment(f"it is no assignment ({error})") from error
    names = sorted(topics)
    if given.checksum != _checksum(names):
        raise UnreadableAssignment("it was made for a node that hosts other topics")
    found: dict[str, Sequence[int]] = {}
    for each in given.partitions:
        number, numbers = (each or [-1])[0], each[1:]
        if not 0 <= number < len(names) or len(numbers) % 2:
            raise UnreadableAssignment("it is of no topic that this node hosts")
        partitions: list[int] = []
        end = 0
        for gap, length in zip(*[iter(numbers)] * 2, strict=True):
            start = end + gap
            end = start + length
            if gap < 0 or length < 1 or end > topics[names[number]]:
                raise UnreadableAssignment(f"{names[number]} has no such partitions")
            partitions.extend(range(start, end))
        found[names[number]] = partitions
    return found


def _checksum(names: Sequence[str]) -> int:
    return zlib.crc32("\n".join(names).encode())
