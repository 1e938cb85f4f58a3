"""Frames of messages between nodes: what goes in comes out, and anything else is told apart."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spawn.mesh.wire import (
    FRAME_BYTES_MAX,
    FRAME_MESSAGES_MAX,
    IGNORABLE_FROM,
    Flaw,
    FrameError,
    Message,
    Ping,
    Pong,
    Reply,
    decode_frame,
    encode_frame,
    encode_message,
    join_frame,
)
from tests.unit.mesh.messages import KINDS, messages


def frame_of(*parts: object) -> bytes:
    """Return a frame of whatever is given."""
    return msgspec.msgpack.encode(list(parts))


def flaw_of(frame: bytes) -> Flaw | None:
    """Return what is wrong with a frame."""
    try:
        decode_frame(frame)
    except FrameError as error:
        return error.flaw
    return None


def test_every_kind_is_drawn() -> None:
    """The property tests below are of all of them."""
    assert set(KINDS) == set(get_args(Message))


@given(st.lists(messages, max_size=40))
def test_a_frame_gives_back_its_messages(sent: list[Message]) -> None:
    """In order, whichever way it was put together."""
    frame = encode_frame(sent)
    assert decode_frame(frame) == sent
    assert frame == join_frame([encode_message(message) for message in sent])
    assert frame == msgspec.msgpack.encode(sent)


@given(st.binary(max_size=200))
@example(b"")
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\x91\x92\x09\xdd\x7f\xff\xff\xff")
@example(b"\x91\x93\x03\x00" + b"\x91" * 100_000)
def test_arbitrary_bytes_raise_the_one_error(frame: bytes) -> None:
    """Or are a frame."""
    assert flaw_of(frame) in (None, *Flaw)


@given(st.lists(messages, min_size=1, max_size=5), st.data())
def test_damaged_frames_raise_the_one_error(sent: list[Message], data: st.DataObject) -> None:
    """Or are another frame: whole ones are the transport's business."""
    frame = bytearray(encode_frame(sent))
    at = data.draw(st.integers(0, len(frame) - 1))
    frame[at] = data.draw(st.integers(0, 255))
    assert flaw_of(bytes(frame)) in (None, *Flaw)
    assert flaw_of(bytes(frame[:at])) in (None, *Flaw)


@given(messages, st.lists(st.none() | st.integers(0, 9) | st.text(max_size=3), max_size=3))
def test_a_newer_peer_may_say_more(message: Message, more: list[object]) -> None:
    """Fields behind those that we know are passed over."""
    fields = msgspec.msgpack.decode(encode_message(message))
    assert decode_frame(frame_of([*fields, *more])) == [message]


def test_an_older_peer_may_say_less() -> None:
    """What has a default may be left out."""
    fields = msgspec.msgpack.decode(encode_message(Reply(1, b"5", 2, 3, 4)))
    with pytest.raises(FrameError) as error:
        decode_frame(frame_of(fields[:-1]))
    assert error.value.flaw is Flaw.UNREADABLE
    invoke = [5, 1, "t", 2, "T", b"a", "add", b"5", 100]
    (read,) = decode_frame(frame_of(invoke))
    assert decode_frame(encode_frame([read])) == [read]


def test_kinds_that_may_be_ignored_are() -> None:
    """The rest of the frame counts, in order."""
    frame = frame_of([3, 1], [IGNORABLE_FROM + 60, {"a": [1]}], [4, 2], [127])
    assert decode_frame(frame) == [Ping(1), Pong(2)]


@pytest.mark.parametrize(
    ("frame", "flaw", "text"),
    [
        (frame_of([3, 1], [63, "x"]), Flaw.UNKNOWN_KIND, "kind 63"),
        (frame_of([-1]), Flaw.UNKNOWN_KIND, "kind -1"),
        (frame_of([3, "x"]), Flaw.UNREADABLE, "can't be read"),
        (frame_of([]), Flaw.UNREADABLE, "can't be read"),
        (frame_of([3, 1]) + b"\x00", Flaw.UNREADABLE, "can't be read"),
        (msgspec.msgpack.encode({"a": 1}), Flaw.UNREADABLE, "can't be read"),
        (frame_of(*([4, 1],) * (FRAME_MESSAGES_MAX + 1)), Flaw.OVER_LIMIT, "1001 messages"),
        (b"\xdd\xff\xff\xff\xff", Flaw.OVER_LIMIT, "4294967295 messages"),
        (bytes(FRAME_BYTES_MAX + 1), Flaw.OVER_LIMIT, f"{FRAME_BYTES_MAX + 1} bytes"),
    ],
)
def test_flaws_are_told_apart(frame: bytes, flaw: Flaw, text: str) -> None:
    """An unreadable frame, one over a limit, a kind of a newer protocol."""
    with pytest.raises(FrameError, match=text) as error:
        decode_frame(frame)
    assert error.value.flaw is flaw


def test_the_largest_frame_is_taken() -> None:
    """Limits include their value."""
    pings = [Ping(n) for n in range(FRAME_MESSAGES_MAX)]
    assert decode_frame(encode_frame(pings)) == pings
    most = FRAME_BYTES_MAX - len(encode_frame([Reply(1, b"x" * 70_000, 1, 1, 1)])) + 70_000
    full = [Reply(1, b"x" * most, 1, 1, 1)]
    assert len(encode_frame(full)) == FRAME_BYTES_MAX
    assert decode_frame(encode_frame(full)) == full
