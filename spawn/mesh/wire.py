"""What nodes say to each other: messages, and frames of them (pure).

A frame is a MessagePack array of messages; a message is an array of its kind, a small whole number,
and its fields in order. It has at most `FRAME_MESSAGES_MAX` messages and `FRAME_BYTES_MAX` bytes.

How the protocol grows, so that a release and the one before it understand each other:

- A field is added at a message's end and has a default: who does not know it passes over it.
- A kind below `IGNORABLE_FROM` must be understood. It is only sent where the version that is spoken
  (`greeting.spoken`) has it.
- A kind from there on may be sent to anybody: who does not know it passes over it.
- The fields of `Hello` and `Bye` never change their meaning: they are read before a version is
  agreed on.

No kind is ever used again for something else, and no field is taken away.

Over 400 lines: the whole protocol stands in one place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from eventstore.records import RequestNumber

__all__ = [
    "FOLLOW_BYTES_MAX",
    "FRAME_BYTES_MAX",
    "FRAME_MESSAGES_MAX",
    "IGNORABLE_FROM",
    "LEAST_VERSION",
    "VERSION",
    "Bye",
    "Commits",
    "Flaw",
    "Follow",
    "FrameError",
    "Handover",
    "HandoverAnswer",
    "Hello",
    "Invoke",
    "Message",
    "Numbered",
    "Opinion",
    "Owner",
    "OwnerNews",
    "Past",
    "Ping",
    "Pong",
    "Redirect",
    "Refusal",
    "Reply",
    "Standing",
    "Taken",
    "ToldCommit",
    "Unfollow",
    "decode_frame",
    "encode_frame",
    "encode_message",
    "join_frame",
]

VERSION: Final = 1
"""Of the protocol that this release speaks; one more with each kind or field that has to be
understood."""
LEAST_VERSION: Final = 1
"""The oldest that it speaks too: the one of the release before. There was none before 1."""

FRAME_MESSAGES_MAX: Final = 1_000
"""A frame of so many costs the event loop about 2 ms to read: more would hold up everything else
on the node."""
FRAME_BYTES_MAX: Final = 8 * 1024 * 1024
"""The largest message is a reply of 6 MiB (a commit's limit); it must fit whole."""
IGNORABLE_FROM: Final = 64
FOLLOW_BYTES_MAX: Final = 256 * 1024
"""Of Commits to one follower that were sent and not taken; one larger change goes alone. Both ends
count the bytes of events and states."""

_ARRAY_MAX_BYTES: Final = 5


class Flaw(StrEnum):
    """What is wrong with a frame; counted by it."""

    UNREADABLE = "unreadable"
    OVER_LIMIT = "over-limit"
    UNKNOWN_KIND = "unknown-kind"


class FrameError(Exception):
    """The frame can't be taken; nothing of it counts."""

    def __init__(self, flaw: Flaw, text: str) -> None:
        super().__init__(text)
        self.flaw = flaw


class _Wire(msgspec.Struct, array_like=True, tag_field="kind", frozen=True, gc=False):
    """Base of all messages."""


class Hello(_Wire, tag=1, frozen=True, gc=False):
    """The first message of both ends, alone in its frame."""

    version: int
    """The newest protocol that the sender speaks."""
    least: int
    """The oldest one."""
    system: str
    node: str
    """Random id of the sender's process, never used again."""
    endpoint: str
    """`host:port` where others reach its mesh."""
    release: str
    """For people."""


class Bye(_Wire, tag=2, frozen=True, gc=False):
    """The sender ends the link and reads nothing more. The last message."""

    reason: str
    """`closed`, or why the receiver is refused: a stable word, also counted by."""
    text: str = ""
    """For people."""


class Ping(_Wire, tag=3, frozen=True, gc=False):
    """Asks whether the receiver's event loop turns; answered by the link itself."""

    nonce: int


class Pong(_Wire, tag=4, frozen=True, gc=False):
    """The answer to the ping with the same nonce."""

    nonce: int


class Numbered(RequestNumber, array_like=True, frozen=True, gc=False):
    """A request number (log protocol 7) on its way: the owner takes it as it is."""


class Invoke(_Wire, tag=5, frozen=True, gc=False):
    """Run an action, or read. Answered once: Reply, Refusal or Redirect; or not at all."""

    id: int
    """Chosen by the sender, its own within this link and direction."""
    topic: str
    partition: int
    type: str
    actor: bytes
    """The actor's id in UTF-8."""
    action: str
    payload: bytes
    """JSON; checked by the owner."""
    remaining_ms: int
    """Until the caller's deadline, when the message was made: clocks of nodes are not compared."""
    request: Numbered | None = None
    """None: a read, or what may take effect twice."""
    key: str = ""
    """The caller's idempotency key; empty: none."""
    caller: str = ""
    metadata: dict[str, str] | None = None
    wants_answer: bool = True
    """False: only the reply itself is wanted; revision and offset may be left out."""
    epoch: int = 0
    """Of the owner that the sender means, as far as it knows; for the owner's own statistics."""


class Reply(_Wire, tag=6, frozen=True, gc=False):
    """The request took effect, or the read was made."""

    id: int
    reply: bytes
    """JSON."""
    revision: int
    offset: int
    """Of the record, within the request's partition; -1: there is none (revision 0)."""
    time_us: int
    """T of the partition (log protocol 4)."""


class Refusal(_Wire, tag=7, frozen=True, gc=False):
    """The request's error, as `spawn.errors` has it."""

    id: int
    code: str
    text: str
    at: str
    hint: str
    retryable: bool
    rejected: bool
    """By user code: final and recorded."""
    time_us: int
    """T of the partition; 0: unknown."""


class Redirect(_Wire, tag=8, frozen=True, gc=False):
    """The receiver of the request does not own the partition; it has not been executed there."""

    id: int
    endpoint: str
    """Of the owner as far as is known; empty: nobody knows one."""
    epoch: int
    """Of the owner's claim; the higher one is right."""


class Owner(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Who owns a partition."""

    topic: str
    partition: int
    epoch: int
    endpoint: str
    """Empty: released, nobody does."""


class OwnerNews(_Wire, tag=9, frozen=True, gc=False):
    """Owners that changed; the higher epoch is right."""

    owners: list[Owner]


class Handover(_Wire, tag=10, frozen=True, gc=False):
    """A planned move: the sender has read the partition up to its end and asks for it."""

    id: int
    topic: str
    partition: int
    endpoint: str
    """Of the new owner, where the old one sends what it has not run."""


class HandoverAnswer(_Wire, tag=11, frozen=True, gc=False):
    """What the old owner says: `ready`, then `released`; or `refused`."""

    id: int
    answer: str
    """`released`: it serves the partition no more, and has written a Release if it could;
    `refused`: it stays the owner; `not-owner`: it is not."""
    epoch: int
    """Of the old owner's claim."""
    offset: int = -1
    """Of the Release."""
    text: str = ""


class Opinion(_Wire, tag=12, frozen=True, gc=False):
    """What an observer finds of a node; see `spawn.mesh.health`."""

    node: str
    evidence: str
    """`refused`, `reset`, `silent`; empty: it is reached again."""


class Standing(_Wire, tag=64, frozen=True, gc=False):
    """How the sender stands, said when a link has opened and when it changes."""

    standing: str
    """`serving`; `unfit`: it reaches log or database no more; `leaving`: it hands everything over.
    Another word counts as `serving`."""


class Follow(_Wire, tag=65, frozen=True, gc=False):
    """Tell an actor's changes as they happen: Commits, until Unfollow, a Refusal or a Redirect."""

    id: int
    """Chosen by the sender, its own within this link and direction, as those of Invoke."""
    topic: str
    partition: int
    type: str
    actor: bytes
    after: int
    """Those above this revision; -1: those from now on."""


class Past(_Wire, tag=66, frozen=True, gc=False):
    """List an actor's past changes: Commits until one `is_last`, a Refusal or a Redirect."""

    id: int
    topic: str
    partition: int
    type: str
    actor: bytes
    remaining_ms: int
    from_revision: int
    limit: int
    newest_first: bool


class ToldCommit(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One change of an actor, as `spawn.core.ingress.ActorCommit` has it."""

    revision: int
    time_us: int
    offset: int
    action: str
    caller: str
    events: list[tuple[str, bytes]]
    state: bytes | None
    deleted: bool


class Commits(_Wire, tag=67, frozen=True, gc=False):
    """Changes of an actor, in order. At most `FOLLOW_BYTES_MAX` are under way."""

    id: int
    """Of Follow or Past."""
    revision: int
    """All up to here that were asked for are told with this message."""
    commits: list[ToldCommit]
    is_last: bool = False


class Taken(_Wire, tag=68, frozen=True, gc=False):
    """So many bytes of Commits were taken by whoever follows: as many more may come."""

    id: int
    size_bytes: int


class Unfollow(_Wire, tag=69, frozen=True, gc=False):
    """Nobody follows any more."""

    id: int


Message = (
    Hello
    | Bye
    | Ping
    | Pong
    | Invoke
    | Reply
    | Refusal
    | Redirect
    | OwnerNews
    | Handover
    | HandoverAnswer
    | Opinion
    | Standing
    | Follow
    | Past
    | Commits
    | Taken
    | Unfollow
)


class _Head(msgspec.Struct, array_like=True):
    """What every message begins with, whatever its kind."""

    kind: int


_KINDS: Final = frozenset(
    kind.__struct_config__.tag
    for kind in (
        *(Hello, Bye, Ping, Pong, Invoke, Reply, Refusal, Redirect),
        *(OwnerNews, Handover, HandoverAnswer, Opinion, Standing),
        *(Follow, Past, Commits, Taken, Unfollow),
    )
)
_encoder: Final = msgspec.msgpack.Encoder()
_frame_decoder: Final = msgspec.msgpack.Decoder(list[Message])
_parts_decoder: Final = msgspec.msgpack.Decoder(list[msgspec.Raw])
_head_decoder: Final = msgspec.msgpack.Decoder(_Head)
_message_decoder: Final = msgspec.msgpack.Decoder(Message)
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

encode_message: Final = _encoder.encode
"""Return the bytes of one message, for `join_frame`."""


def join_frame(encoded: Sequence[bytes]) -> bytes:
    """Return the frame of messages that are encoded already; the limits are the caller's."""
    count = len(encoded)
    head = bytes((0x90 | count,)) if count < 16 else b"\xdc" + count.to_bytes(2)
    return head + b"".join(encoded)


def encode_frame(messages: Iterable[Message]) -> bytes:
    """Return a frame; the limits are the caller's."""
    return join_frame([encode_message(message) for message in messages])


def decode_frame(frame: bytes) -> list[Message]:
    """Return a frame's messages in order, without those that may be ignored.

    Raises: FrameError.
    """
    if len(frame) > FRAME_BYTES_MAX:
        raise FrameError(
            Flaw.OVER_LIMIT, f"a frame of {len(frame)} bytes; the limit is {FRAME_BYTES_MAX}"
        )
    count = _count(frame)
    if count > FRAME_MESSAGES_MAX:
        raise FrameError(
            Flaw.OVER_LIMIT, f"a frame of {count} messages; the limit is {FRAME_MESSAGES_MAX}"
        )
    try:
        return _frame_decoder.decode(frame)
    except msgspec.ValidationError:
        return _decode_each(frame)
    except _UNREADABLE as error:
        raise _unreadable(error) from error


def _count(frame: bytes) -> int:
    """Return how many messages the frame says that it has, before anything is made of them."""
    first = frame[0] if frame else 0
    if first & 0xF0 == 0x90:
        return first & 0x0F
    if first in (0xDC, 0xDD):
        return int.from_bytes(frame[1 : 3 if first == 0xDC else _ARRAY_MAX_BYTES])
    return 0


def _decode_each(frame: bytes) -> list[Message]:
    """Read a frame message by message: some kind in it is unknown, or some field wrong."""
    messages: list[Message] = []
    try:
        for part in _parts_decoder.decode(frame):
            kind = _head_decoder.decode(part).kind
            if kind in _KINDS:
                messages.append(_message_decoder.decode(part))
            elif kind < IGNORABLE_FROM:
                raise FrameError(
                    Flaw.UNKNOWN_KIND,
                    f"a message of kind {kind}, which protocol {VERSION} does not have",
                )
    except _UNREADABLE as error:
        raise _unreadable(error) from error
    return messages


def _unreadable(error: Exception) -> FrameError:
    return FrameError(Flaw.UNREADABLE, f"a frame that can't be read: {str(error)[:200]}")
