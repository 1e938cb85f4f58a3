"""The records of a partition and their binary prefix (pure; log protocol 2).

Every value in a partition's topic is `prefix | schema fingerprint (8 bytes) | Avro body`. The
prefix carries all that fencing and the fold look at, so that recovery, fencing and the CLI never
decode a body. All integers are little-endian.

    offset  size  every record
    0       2     magic 0xE5 0x53
    2       1     version (1)
    3       1     kind: 1 Claim, 2 Commit, 3 Release, 4 Barrier
    4       16    claim id (of a Claim: its own)
    20      4     epoch

    Claim     24  16  based_on (zeros: the first claim of the log)
              40  16  log id
              56  2   number of skips, then 8 bytes an offset each
    Release   24  8   sequence
    Barrier   nothing more, no body
    Commit    24  8   sequence
              32  8   revision of the actor after this commit
              40  8   time, microseconds since 1970 UTC
              48  8   previous (signed): 0 none, > 0 an offset, < 0 a distance back in this batch
              56  1   outcome
              57  1   cause
              58  2   flags
              60  1   length of the type's name, then the name
              then, each only with its flag or cause, in this order:
              REQUEST  40  session (16), n, low, issued (microseconds)
              LINK     24  log id of the source's partition (16), n
              TIMER    16  revision that armed it, occurrence; then 1 + name
              KEY      32  digest of the idempotency key, digest of action and payload
              REPEATS  8   coded like `previous`: the record that this one repeats

An actor is (type, id): the type stands in the prefix, the id is the record's key in UTF-8. Claim,
Release and Barrier have no key. A record without the magic is not ours: void, and counted.

How the prefix grows: what readers must not pass over (messages to be sent, say, or a new cause or
outcome) gets a flag of `Flag.MUST_KNOW`, and a release that does not know it stops before the first
valid commit that has it (`Fold`). What they may pass over gets one of the four highest, and stands
in the body: a new section of the prefix would move it.

Over 400 lines: a layout, its writer and its readers stand in one place.
"""

from __future__ import annotations

import enum
import struct
from typing import Final, Protocol

import msgspec

from eventstore.errors import UnreadablePrefix

__all__ = [
    "CLAIM_START",
    "COMMIT_HEAD",
    "FINGERPRINT_BYTES",
    "NO_CLAIM",
    "NO_PREVIOUS",
    "SECTION_CAUSES",
    "SECTION_FLAGS",
    "Barrier",
    "Cause",
    "Claim",
    "Commit",
    "CommitFields",
    "Flag",
    "LinkNumber",
    "Outcome",
    "Prefix",
    "Release",
    "RequestNumber",
    "StoredRecord",
    "TimerFiring",
    "UserKey",
    "commit_start",
    "decode_prefix",
    "decode_sections",
    "encode_barrier",
    "encode_claim",
    "encode_commit",
    "encode_release",
    "encode_sections",
]

MAGIC: Final = b"\xe5S"
VERSION: Final = 1
NO_CLAIM: Final = bytes(16)
"""Stands for "no claim yet" in `based_on`; random ids never equal it."""
NO_PREVIOUS: Final = 0
"""An actor's first record. No commit can stand at offset 0: a claim precedes every commit."""
FINGERPRINT_BYTES: Final = 8

COMMIT_HEAD: Final = struct.Struct("<24sQQqqBBHB")
"""The fixed part of a commit: what `commit_start` returns, sequence, revision, time, previous,
outcome, cause, flags, length of the type's name, which follows. For the loop that reads a tail
(`Fold.run`) and checks the rest itself; everybody else wants `decode_prefix`."""

_CLAIM, _COMMIT, _RELEASE, _BARRIER = 1, 2, 3, 4
CLAIM_START: Final = MAGIC + bytes((VERSION, _CLAIM))
"""The bytes with which every claim begins, and no other record."""
_HEAD = struct.Struct("<2sBB16sI")
_CLAIM_HEAD = struct.Struct("<2sBB16sI16s16sH")
_RELEASE_HEAD = struct.Struct("<2sBB16sIQ")
_COMMIT_HEAD = struct.Struct("<2sBB16sIQQqqBBHB")
_REQUEST = struct.Struct("<16sQQq")
_LINK = struct.Struct("<16sQ")
_TIMER = struct.Struct("<QQB")
_KEY = struct.Struct("<16s16s")
_OFFSET = struct.Struct("<q")
_CUT_SHORT: Final = (struct.error, IndexError, UnicodeDecodeError)
"""What taking a prefix apart raises when it ends too early."""


class Outcome(enum.IntEnum):
    """What a command came to (protocol 2)."""

    APPLIED = 1
    """It has events, a state, messages, timers, subscriptions or a tombstone."""
    UNCHANGED = 2
    """User code ran and changed nothing."""
    REJECTED = 3
    """User code refused it (`Rejected`), or a key was used again with another payload."""
    FAILED = 4
    """User code raised; the actor's state is as it was."""
    DEAD = 5
    """A message or firing that failed too often."""


class Cause(enum.IntEnum):
    """What made the command run (protocol 2)."""

    REQUEST = 1
    MESSAGE = 2
    TIMER = 3
    ACTIVATION = 4
    OPERATOR = 5


class Flag:
    """What else a commit's prefix or body holds; bits of a plain int.

    No `IntFlag`: combining and testing one costs a microsecond, several times per commit.
    """

    REQUEST: Final = 1
    """The request is numbered (session, n, low, issued); a local caller's is not."""
    DURABLE: Final = 2
    """The request's session is an outside source with positions (protocol 7)."""
    KEY: Final = 4
    REPEATS: Final = 8
    STATE: Final = 16
    """The body holds the actor's whole new state (state style)."""
    DELETED: Final = 32
    """A tombstone: state, timers and subscriptions are dropped."""
    OUTBOX: Final = 64
    TIMERS: Final = 128
    SUBSCRIPTIONS: Final = 256

    KNOWN: Final = 63
    """What this release acts upon: all above but the last three, whose features come later."""
    MUST_KNOW: Final = 0x0FFF
    UNKNOWN: Final = MUST_KNOW & ~KNOWN
    """Whoever passed over one of these would lose what the commit is for."""


class RequestNumber(msgspec.Struct, frozen=True, gc=False):
    """A numbered request of an ingress process (protocol 7)."""

    session: bytes
    n: int
    low: int
    issued_us: int


class LinkNumber(msgspec.Struct, frozen=True, gc=False):
    """Which message of which link caused this commit (protocol 8)."""

    source_log: bytes
    n: int


class TimerFiring(msgspec.Struct, frozen=True, gc=False):
    """Which firing of which timer caused this commit (protocol 9)."""

    name: str
    revision: int
    occurrence: int


class UserKey(msgspec.Struct, frozen=True, gc=False):
    """A user's idempotency key: 16-byte digests of the key, and of action and payload."""

    key: bytes
    payload: bytes


class Claim(msgspec.Struct, frozen=True, gc=False):
    """From here on this process writes the partition (protocol 2, 3)."""

    claim: bytes
    epoch: int
    based_on: bytes
    log_id: bytes
    skips: tuple[int, ...] = ()
    body_at: int = 0


class Release(msgspec.Struct, frozen=True, gc=False):
    """The owner's last record in a planned move."""

    claim: bytes
    epoch: int
    sequence: int
    body_at: int = 0


class Barrier(msgspec.Struct, frozen=True, gc=False):
    """Proves to its writer that the claim still holds; without effect on any fold (protocol 6)."""

    claim: bytes
    epoch: int
    body_at: int = 0


class Commit(msgspec.Struct, frozen=True, gc=False):
    """One command's whole effect; this is what stands in the prefix."""

    claim: bytes
    epoch: int
    sequence: int
    revision: int
    time_us: int
    previous: int
    outcome: int
    cause: int
    flags: int
    type: bytes
    request: RequestNumber | None = None
    link: LinkNumber | None = None
    timer: TimerFiring | None = None
    key: UserKey | None = None
    repeats: int = 0
    body_at: int = 0
    """Where the fingerprint starts in the value; 0 in a commit that was not decoded from bytes."""


class CommitFields(Protocol):
    """What has a commit's prefix: a `Commit`, or what becomes one in the log."""

    @property
    def claim(self) -> bytes: ...
    @property
    def epoch(self) -> int: ...
    @property
    def sequence(self) -> int: ...
    @property
    def revision(self) -> int: ...
    @property
    def time_us(self) -> int: ...
    @property
    def previous(self) -> int: ...
    @property
    def outcome(self) -> int: ...
    @property
    def cause(self) -> int: ...
    @property
    def flags(self) -> int: ...
    @property
    def type(self) -> bytes: ...
    @property
    def request(self) -> RequestNumber | None: ...
    @property
    def link(self) -> LinkNumber | None: ...
    @property
    def timer(self) -> TimerFiring | None: ...
    @property
    def key(self) -> UserKey | None: ...
    @property
    def repeats(self) -> int: ...


Prefix = Claim | Commit | Release | Barrier


class StoredRecord(Protocol):
    """A record as the log gives it back; any object with these attributes will do."""

    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...


SECTION_FLAGS: Final = Flag.REQUEST | Flag.KEY | Flag.REPEATS
SECTION_CAUSES: Final = frozenset((int(Cause.MESSAGE), int(Cause.TIMER)))
"""By one of these flags or causes a commit has sections behind its type's name."""


def encode_claim(claim: Claim, body: bytes) -> bytes:
    """Return the value of a claim; `body` starts with its schema's fingerprint."""
    skips = claim.skips
    head = _CLAIM_HEAD.pack(
        MAGIC, VERSION, _CLAIM, claim.claim, claim.epoch, claim.based_on, claim.log_id, len(skips)
    )
    return head + struct.pack(f"<{len(skips)}Q", *skips) + body


def encode_release(release: Release) -> bytes:
    """Return the value of a release, which has no body."""
    return _RELEASE_HEAD.pack(
        MAGIC, VERSION, _RELEASE, release.claim, release.epoch, release.sequence
    )


def encode_barrier(barrier: Barrier) -> bytes:
    """Return the value of a barrier, which has no body."""
    return _HEAD.pack(MAGIC, VERSION, _BARRIER, barrier.claim, barrier.epoch)


def encode_commit(commit: CommitFields, body: bytes) -> bytes:
    """Return the value of a commit; `body` starts with its schema's fingerprint.

    The flags REQUEST, KEY and REPEATS and the causes MESSAGE and TIMER say which optional
    sections follow the type's name; they must agree with the fields.
    """
    head = _COMMIT_HEAD.pack(
        MAGIC,
        VERSION,
        _COMMIT,
        commit.claim,
        commit.epoch,
        commit.sequence,
        commit.revision,
        commit.time_us,
        commit.previous,
        commit.outcome,
        commit.cause,
        commit.flags,
        len(commit.type),
    )
    if commit.flags & SECTION_FLAGS or commit.cause in SECTION_CAUSES:
        return head + commit.type + encode_sections(commit) + body
    return head + commit.type + body


def commit_start(claim: bytes, epoch: int) -> bytes:
    """Return the bytes with which every commit of a claim begins."""
    return _HEAD.pack(MAGIC, VERSION, _COMMIT, claim, epoch)


def decode_prefix(value: bytes | None) -> Prefix | None:
    """Return what the prefix says, or None for a record that is not ours (no magic).

    Raises: UnreadablePrefix - it has our magic but is cut short, or of an unknown version or kind:
    it might have been valid, so a reader must not pass over it (protocol 2 and 3).
    """
    if value is None or value[:2] != MAGIC:
        return None
    try:
        if value[2] == VERSION:
            if value[3] == _COMMIT:
                return _decode_commit(value)
            return _decode_rare(value)
    except _CUT_SHORT as error:
        raise _cut_short(value) from error
    raise UnreadablePrefix(
        f"the record has version {value[2]}; this release of Spawn reads {VERSION}"
    )


def _decode_commit(value: bytes) -> Commit:
    (_, _, _, claim, epoch, sequence, revision, time_us, previous, outcome, cause, flags, size) = (
        _COMMIT_HEAD.unpack_from(value)
    )
    at = _COMMIT_HEAD.size + size
    if len(value) < at + FINGERPRINT_BYTES:
        raise _cut_short(value)
    type_name = value[_COMMIT_HEAD.size : at]
    if flags & SECTION_FLAGS or cause in SECTION_CAUSES:
        request, link, timer, key, repeats, at = decode_sections(value, at, cause, flags)
        return Commit(
            claim, epoch, sequence, revision, time_us, previous, outcome, cause, flags, type_name,
            request, link, timer, key, repeats, at,
        )  # fmt: skip
    return Commit(
        claim, epoch, sequence, revision, time_us, previous, outcome, cause, flags, type_name,
        None, None, None, None, 0, at,
    )  # fmt: skip


def _decode_rare(value: bytes) -> Prefix:
    _, _, kind, claim, epoch = _HEAD.unpack_from(value)
    if kind == _BARRIER:
        return Barrier(claim, epoch, _HEAD.size)
    if kind == _RELEASE:
        return Release(claim, epoch, _RELEASE_HEAD.unpack_from(value)[5], _RELEASE_HEAD.size)
    if kind != _CLAIM:
        raise UnreadablePrefix(
            f"the record is of kind {kind}, which this release of Spawn does not know"
        )
    *_, based_on, log_id, count = _CLAIM_HEAD.unpack_from(value)
    skips = struct.unpack_from(f"<{count}Q", value, _CLAIM_HEAD.size)
    return Claim(claim, epoch, based_on, log_id, skips, _CLAIM_HEAD.size + 8 * count)


def encode_sections(commit: CommitFields) -> bytes:
    """Return the optional sections of a commit's prefix, which follow the type's name."""
    parts: list[bytes] = []
    if (request := commit.request) is not None:
        parts.append(_REQUEST.pack(request.session, request.n, request.low, request.issued_us))
    if (link := commit.link) is not None:
        parts.append(_LINK.pack(link.source_log, link.n))
    if (timer := commit.timer) is not None:
        name = timer.name.encode()
        parts.append(_TIMER.pack(timer.revision, timer.occurrence, len(name)) + name)
    if (key := commit.key) is not None:
        parts.append(_KEY.pack(key.key, key.payload))
    if commit.flags & Flag.REPEATS:
        parts.append(_OFFSET.pack(commit.repeats))
    return b"".join(parts)


def decode_sections(
    value: bytes, at: int, cause: int, flags: int
) -> tuple[RequestNumber | None, LinkNumber | None, TimerFiring | None, UserKey | None, int, int]:
    """Return the sections of a commit, the record that it repeats, and where its body begins.

    They begin at `at`, behind the type's name. Raises: UnreadablePrefix - it is cut short.
    """
    request = link = timer = key = None
    repeats = 0
    try:
        if flags & Flag.REQUEST:
            request = RequestNumber(*_REQUEST.unpack_from(value, at))
            at += _REQUEST.size
        if cause == Cause.MESSAGE:
            link = LinkNumber(*_LINK.unpack_from(value, at))
            at += _LINK.size
        elif cause == Cause.TIMER:
            revision, occurrence, size = _TIMER.unpack_from(value, at)
            at += _TIMER.size + size
            timer = TimerFiring(value[at - size : at].decode(), revision, occurrence)
        if flags & Flag.KEY:
            key = UserKey(*_KEY.unpack_from(value, at))
            at += _KEY.size
        if flags & Flag.REPEATS:
            (repeats,) = _OFFSET.unpack_from(value, at)
            at += _OFFSET.size
    except _CUT_SHORT as error:
        raise _cut_short(value) from error
    if len(value) < at + FINGERPRINT_BYTES:
        raise _cut_short(value)
    return request, link, timer, key, repeats, at


def _cut_short(value: bytes) -> UnreadablePrefix:
    return UnreadablePrefix(f"the record's prefix is cut short ({len(value)} bytes)")
