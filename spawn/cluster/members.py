"""What nodes say of themselves in the group, and what its leader gives them, as bytes (pure).

Metadata and assignments begin with a format byte, 3; numbers stand in columns of bits (`columns`).

- Metadata: the length of the columns (4 bytes), the columns, then a MessagePack map with short
  keys, deflated. Unknown keys and columns behind those known are ignored, so that a newer release
  may say more. The map has the topics' names in order, without their common beginning. Columns:
  partitions of each topic; for each how many ranges are held; of all ranges the gap to the end of
  the one before, the length, the epoch.
- An assignment: a checksum of the names (4 bytes), then columns: for each topic how many ranges; of
  all ranges the gap and the length.

Sizes matter: Kafka keeps a group, the metadata and assignments of all its members, as one record,
which its default settings limit to 1 MiB (`bench.scale` measures how far that goes). Formats 1 and
2, MessagePack with and without zlib, had two to three times the bytes; they are still read.

Source: design 3.3.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from spawn.cluster.columns import ColumnReader, ColumnWriter, CutShort

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

_PLAIN, _COMPRESSED, _COLUMNS = b"\x01", b"\x02", b"\x03"
_HEAD_BYTES: Final = 5
_RAW_DEFLATE: Final = -zlib.MAX_WBITS
_BYTES_MAX: Final = 1024 * 1024
"""Of one member, uncompressed; more is no node of ours."""
_TOPICS_MAX: Final = 10_000
_PARTITIONS_MAX: Final = 1_000_000
"""Of one topic. A number like 2**60 from a broken node must not become a loop here."""
_RANGES_MAX: Final = 250_000
"""Of one member. Equal ones take no bits, so that their bytes bound nothing."""

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
    x: str = ""
    """What all topics' names begin with."""
    u: str = ""
    """The rest of each, in the order of the names, with line breaks between; no topics: empty."""
    t: dict[str, int] = {}
    """Formats 1 and 2: the topics with their partitions, instead of `x` and `u`."""
    p: list[list[int]] = []
    """Formats 1 and 2: for each topic of which something is held: its number, then for each range
    how far it begins behind the end of the one before, its length, its epoch."""


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
    assert not any("\n" in topic for topic in topics), "no topic has a line break"
    common = _common(topics)
    wire = _Wire(
        n=member.node_id,
        m=member.mesh,
        h=member.http,
        r=member.release,
        v=member.protocol,
        w=member.protocol_min,
        x=common,
        u="\n".join([topic[len(common) :] for topic in topics]),
    )
    held = [member.held.get(topic, ()) for topic in topics]
    flat = list(_flat(held))
    columns = ColumnWriter()
    columns.column([member.topics[topic] for topic in topics])
    columns.column([len(ranges) for ranges in held])
    for place in range(3):
        columns.column([each[place] for each in flat])
    numbers = columns.finish()
    deflate = zlib.compressobj(9, zlib.DEFLATED, _RAW_DEFLATE)
    text = deflate.compress(_encoder.encode(wire)) + deflate.flush()
    return b"".join((_COLUMNS, len(numbers).to_bytes(_HEAD_BYTES - 1), numbers, text))


def _common(names: Sequence[str]) -> str:
    """Return what all of some sorted names begin with: what the first and the last one do."""
    if not names:
        return ""
    first, last = names[0], names[-1]
    size = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), None)
    return first[: min(len(first), len(last)) if size is None else size]


def decode_member(data: bytes) -> Member:
    """Return what a node said.

    Raises: UnreadableMember - with what is wrong, for people.
    """
    try:
        wire, topics, columns = _opened(data)
        if len(wire.n) != NODE_ID_BYTES:
            raise UnreadableMember(f"its node id has {len(wire.n)} bytes")
        if len(topics) > _TOPICS_MAX:
            raise UnreadableMember(f"it hosts {len(topics)} topics")
        for topic, count in topics.items():
            if not 0 < count <= _PARTITIONS_MAX:
                raise UnreadableMember(f"topic {topic} has {count} partitions")
        numbers = wire.p if columns is None else _of_columns(topics, columns, 3)
    except _UNREADABLE as error:
        raise UnreadableMember(f"it is no member's metadata ({error})") from error
    return Member(
        node_id=wire.n,
        mesh=wire.m,
        http=wire.h,
        release=wire.r,
        protocol=wire.v,
        protocol_min=wire.w,
        topics=topics,
        held=_held(topics, numbers),
    )


def _opened(data: bytes) -> tuple[_Wire, dict[str, int], ColumnReader | None]:
    """Return the map, the topics, and the columns behind theirs if the format has any."""
    if data[:1] != _COLUMNS:
        wire = _decoder.decode(_unpacked(data))
        return wire, wire.t, None
    text_at = _HEAD_BYTES + int.from_bytes(data[1:_HEAD_BYTES])
    wire = _decoder.decode(_inflated(data[text_at:], _RAW_DEFLATE))
    names = [wire.x + each for each in wire.u.split("\n")] if wire.x or wire.u else []
    columns = ColumnReader(data[_HEAD_BYTES:text_at])
    return wire, dict(zip(names, columns.column(len(names)), strict=True)), columns


class _UnknownFormat(ValueError):
    pass


def _unpacked(data: bytes) -> bytes:
    kind, body = data[:1], data[1:]
    if kind == _PLAIN:
        return body
    if kind != _COMPRESSED:
        raise _UnknownFormat(f"format {kind.hex() or 'nothing'} is not known")
    return _inflated(body, zlib.MAX_WBITS)


def _inflated(body: bytes, kind: int) -> bytes:
    reader = zlib.decompressobj(kind)
    plain = reader.decompress(body, _BYTES_MAX)
    if not reader.eof:
        raise _UnknownFormat(f"it is cut short, or has more than {_BYTES_MAX} bytes")
    return plain


_UNREADABLE: Final = (
    msgspec.MsgspecError,
    zlib.error,
    UnicodeDecodeError,
    _UnknownFormat,
    CutShort,
)


def _flat(held: Iterable[Sequence[HeldRange]]) -> Iterator[tuple[int, int, int]]:
    """Yield for each range how far it begins behind the end of the one before, length, epoch."""
    for ranges in held:
        end = 0
        for start, stop, epoch in ranges:
            yield start - end, stop - start, epoch
            end = stop


def _of_columns(topics: Mapping[str, int], columns: ColumnReader, width: int) -> list[list[int]]:
    """Return for each topic with ranges its number and their numbers, `width` for each range."""
    counts = columns.column(len(topics))
    total = sum(counts)
    if total > _RANGES_MAX or any(map(int.__gt__, counts, topics.values())):
        raise _UnknownFormat(f"it has {total} ranges of partitions")
    rows = zip(*[columns.column(total) for _ in range(width)], strict=True)
    return [
        [number, *(value for _, row in zip(range(count), rows, strict=False) for value in row)]
        for number, count in enumerate(counts)
        if count
    ]


def _held(
    topics: Mapping[str, int], numbers: Iterable[Sequence[int]]
) -> dict[str, Sequence[HeldRange]]:
    names = sorted(topics)
    held: dict[str, Sequence[HeldRange]] = {}
    for each in numbers:
        number, flat = (each or [-1])[0], each[1:]
        if not 0 <= number < len(names) or len(flat) % 3:
            raise UnreadableMember("what it holds is of no topic that it hosts")
        topic = names[number]
        ranges: list[HeldRange] = []
        end = 0
        for gap, length, epoch in zip(*[iter(flat)] * 3, strict=True):
            start = end + gap
            end = start + length
            if gap < 0 or length < 1 or epoch < 0 or end > topics[topic]:
                raise UnreadableMember(f"it holds partitions of {topic} that it can't have")
            ranges.append(HeldRange(start, end, epoch))
        held[topic] = tuple(ranges)
    return held


def encode_assignment(assignment: Assignment, topics: Iterable[str]) -> bytes:
    """Return an assignment for a member that hosts these `topics`."""
    names = sorted(topics)
    ranges = [list(_flat_partitions(assignment.get(topic, ()))) for topic in names]
    columns = ColumnWriter()
    columns.column([len(each) for each in ranges])
    for place in range(2):
        columns.column([one[place] for each in ranges for one in each])
    return _COLUMNS + _checksum(names).to_bytes(_HEAD_BYTES - 1) + columns.finish()


def _flat_partitions(partitions: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield for each range how far it begins behind the end of the one before, and its length."""
    before = start = end = 0
    for partition in partitions:
        if partition != end or start == end:
            if start < end:
                yield start - before, end - start
                before = end
            start = partition
        end = partition + 1
    if start < end:
        yield start - before, end - start


def decode_assignment(data: bytes, topics: Mapping[str, int]) -> Assignment:
    """Return what a member that hosts these `topics` was given; of no bytes at all: nothing.

    Raises: UnreadableAssignment.
    """
    if not data:
        return {}
    names = sorted(topics)
    sizes = {name: topics[name] for name in names}
    try:
        if data[:1] == _COLUMNS:
            checksum = int.from_bytes(data[1:_HEAD_BYTES])
            reader = ColumnReader(data[_HEAD_BYTES:])
            flat = _of_columns(sizes, reader, 2) if checksum == _checksum(names) else []
        else:
            given = _assignment_decoder.decode(_unpacked(data))
            checksum, flat = given.checksum, given.partitions
    except _UNREADABLE as error:
        raise UnreadableAssignment(f"it is no assignment ({error})") from error
    if checksum != _checksum(names):
        raise UnreadableAssignment("it was made for a node that hosts other topics")
    found: dict[str, Sequence[int]] = {}
    for each in flat:
        number, numbers = (each or [-1])[0], each[1:]
        if not 0 <= number < len(names) or len(numbers) % 2:
            raise UnreadableAssignment("it is of no topic that this node hosts")
        partitions: list[int] = []
        end = 0
        for gap, length in zip(*[iter(numbers)] * 2, strict=True):
            start = end + gap
            end = start + length
            if gap < 0 or length < 1 or end > sizes[names[number]]:
                raise UnreadableAssignment(f"{names[number]} has no such partitions")
            partitions.extend(range(start, end))
        found[names[number]] = partitions
    return found


def _checksum(names: Sequence[str]) -> int:
    return zlib.crc32("\n".join(names).encode())
