"""One link's conversation without a network: two ends, and what a test carries between them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawn.errors import MailboxFull, NodeUnreachable, Rejected, SpawnError, TooManyWaiting
from spawn.mesh import conversation as module
from spawn.mesh.conversation import CLOSE_S, KEEPALIVE_S, OPEN_S, SILENCE_S, TICK_S, Conversation
from spawn.mesh.greeting import objection
from spawn.mesh.link import Ending, MeshCounts
from spawn.mesh.outbox import Outbox
from spawn.mesh.refusals import error_of, refusal_of
from spawn.mesh.wire import (
    FRAME_BYTES_MAX,
    FRAME_MESSAGES_MAX,
    LEAST_VERSION,
    VERSION,
    Bye,
    Hello,
    Message,
    Opinion,
    Ping,
    Pong,
    Reply,
    decode_frame,
    encode_frame,
    encode_message,
)
from tests.services.mesh_receiver import KeepingReceiver


def hello(name: str, **changed: Any) -> Hello:
    """Return what a node says of itself."""
    fields: dict[str, Any] = {"version": VERSION, "least": LEAST_VERSION, "system": "shop"}
    return Hello(**{**fields, "node": name, "endpoint": f"{name}:1", "release": "0", **changed})


class End:
    """One end, with what it was told."""

    def __init__(self, name: str, endpoint: str = "", **changed: Any) -> None:
        self.told = KeepingReceiver()
        self.counts = MeshCounts()
        self.wakes = 0
        self.link = Conversation(
            hello(name, **changed), self.told, self.counts, self._wake, 0.0, endpoint=endpoint
        )

    def _wake(self) -> None:
        self.wakes += 1

    def cut_all(self) -> list[bytes]:
        """Return all frames that are to be sent."""
        frames = []
        while (frame := self.link.cut()) is not None:
            frames.append(frame)
        return frames


def carry(one: End, other: End) -> None:
    """Carry frames until there are none."""
    while frames := [(other, frame) for frame in one.cut_all()] + [
        (one, frame) for frame in other.cut_all()
    ]:
        for end, frame in frames:
            end.link.receive(frame)


def opened() -> tuple[End, End]:
    """Return two ends that have greeted."""
    a, b = End("a", "b:1"), End("b")
    carry(a, b)
    assert a.told.links == [a.link]
    assert b.told.links == [b.link]
    return a, b


steps = st.lists(
    st.sampled_from(["post a", "post b", "carry", "cut a", "cut b", "take a", "take b"]),
    max_size=60,
)


@given(steps, st.sampled_from(["close a", "close b", "abort a", "broken"]))
def test_what_is_unsent_was_not_received(taken: list[str], last: str) -> None:
    """Whatever happens: what arrives is what was posted, in order; the rest is told or may be."""
    a, b = End("a", "b:1"), End("b")
    ends = {"a": a, "b": b}
    other = {"a": b, "b": a}
    posted: dict[str, list[Message]] = {"a": [], "b": []}
    on_the_way: dict[str, list[bytes]] = {"a": [], "b": []}
    for step in taken:
        what, _, name = step.partition(" ")
        if what == "post":
            message = Opinion(name, str(len(posted[name])))
            ends[name].link.post(message)
            posted[name].append(message)
        elif what == "cut" and (frame := ends[name].link.cut()) is not None:
            on_the_way[name].append(frame)
        elif what == "take" and on_the_way[name]:
            other[name].link.receive(on_the_way[name].pop(0))
    match last:
        case "close a" | "close b":
            ends[last[-1]].link.close()
        case "abort a":
            a.link.abort(Ending.TIMED_OUT, "no answer")
        case _:
            on_the_way = {"a": [], "b": []}
    for _ in range(3):
        for name, end in ends.items():
            if last != "broken":
                on_the_way[name] += end.cut_all()
            while on_the_way[name]:
                other[name].link.receive(on_the_way[name].pop(0))
    for end in ends.values():
        end.link.finish(Ending.RESET, "the connection broke")
    for name, end in ends.items():
        received = other[name].told.messages
        assert received == posted[name][: len(received)]
        ended = end.link.ended
        assert ended is not None
        unsent = list(ended.unsent)
        assert unsent == posted[name][len(posted[name]) - len(unsent) :]
        assert len(received) + len(unsent) <= len(posted[name])
        if end.told.links or name == "a":
            assert end.told.ends == [(end.link, ended)]
        with pytest.raises(NodeUnreachable):
            end.link.post(Opinion("x", ""))


@given(st.binary(max_size=50), st.booleans())
def test_no_bytes_break_an_end(frame: bytes, greeted: bool) -> None:
    """It goes on, or refuses, once, with a reason."""
    end = opened()[1] if greeted else End("b")
    end.link.receive(frame)
    end.link.receive(frame)
    refused = sum(end.counts.refusals.values())
    assert refused in (0, 1)
    if refused:
        (bye,) = decode_frame(end.cut_all()[-1])
        assert isinstance(bye, Bye)
        assert end.counts.refusals == {bye.reason: 1}
        assert end.link.ended is not None
        assert end.link.ended.ending is Ending.PROTOCOL


@pytest.mark.parametrize(
    ("theirs", "reason"),
    [
        ({}, None),
        ({"release": "99.0", "endpoint": "a:1"}, None),
        ({"version": VERSION + 1, "least": VERSION}, None),
        ({"version": VERSION + 1, "least": VERSION + 1}, "version"),
        ({"version": LEAST_VERSION - 1, "least": 0}, "version"),
        ({"system": "other"}, "system"),
        ({"system": "other", "version": 99, "least": 99}, "system"),
        ({"node": "a"}, "itself"),
    ],
)
def test_who_may_talk(theirs: dict[str, Any], reason: str | None) -> None:
    """Both ends come to the same result."""
    ours, peer = hello("a"), hello("b", **theirs)
    for one, other in ((ours, peer), (peer, ours)):
        against = objection(one, other)
        assert (against.reason if against else None) == reason


def test_the_opener_refuses_too() -> None:
    """Who accepts learns why."""
    a, b = End("a", "b:1"), End("b")
    (frame,) = a.cut_all()
    b.link.receive(frame)
    assert b.told.links
    (_,) = b.cut_all()
    a.link.receive(encode_frame([hello("b", system="other")]))
    (bye,) = a.cut_all()
    b.link.receive(bye)
    ((_, ended),) = b.told.ends
    assert (ended.ending, ended.reason) == (Ending.DENIED, "system")
    ((_, ended),) = a.told.ends
    assert (ended.ending, ended.reason) == (Ending.PROTOCOL, "system")


def test_an_accepted_link_that_never_greeted_is_nobodys() -> None:
    """The one above has not heard of it."""
    b = End("b")
    b.link.receive(b"\xc1")
    b.link.finish(Ending.RESET, "")
    assert b.told.ends == []
    assert b.counts.endings == {"protocol": 1}


def test_what_came_before_a_leave_counts() -> None:
    """In the same frame; what comes behind it does not."""
    a, _ = opened()
    a.link.receive(encode_frame([Opinion("x", "1"), Bye("closed"), Opinion("x", "2")]))
    a.link.receive(encode_frame([Opinion("x", "3")]))
    assert a.told.messages == [Opinion("x", "1")]
    ((_, ended),) = a.told.ends
    assert ended.ending is Ending.CLOSED


def test_waking() -> None:
    """Once for all that is posted until it is cut."""
    a, _ = opened()
    before = a.wakes
    for n in range(10):
        a.link.post(Opinion("x", str(n)))
    assert a.wakes == before + 1
    a.cut_all()
    a.link.post(Opinion("x", ""))
    assert a.wakes == before + 2


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """By messages and by bytes: requests are refused, too many answers end the link."""
    monkeypatch.setattr(module, "WAITING_BYTES_MAX", 1000)
    monkeypatch.setattr(module, "ANSWERS_BYTES_MAX", 2000)
    a, _ = opened()
    a.link.post(Opinion("x" * 900, ""))
    with pytest.raises(TooManyWaiting, match="bytes wait for node b:1"):
        a.link.post(Opinion("x" * 200, ""))
    assert a.counts.overflows == 1
    a.link.post(Reply(1, b"x" * 900, 1, 1, 1))
    assert not a.told.ends
    a.link.post(Reply(2, b"x" * 900, 1, 1, 1))
    ((_, ended),) = a.told.ends
    assert ended.ending is Ending.SLOW
    assert len(ended.unsent) == 2


def test_asking_for_life_signs_fills_no_memory() -> None:
    """However many a peer sends while it reads nothing."""
    a, _ = opened()
    for _ in range(1000):
        a.link.receive(encode_frame([Ping(0)] * 100))
    assert a.cut_all() == [encode_frame([Pong(0)])]


def ending(end: End) -> Ending | None:
    """Return how an end ended."""
    return None if end.link.ended is None else end.link.ended.ending


def ticks(end: End, start: float, until: float) -> None:
    """Let an end's time pass."""
    now = start
    while now < until:
        now += TICK_S
        end.link.tick(now)


def test_who_does_not_greet_is_left() -> None:
    """In time; an end that stood still itself waits anew."""
    a = End("a", "b:1")
    a.link.tick(0.0)
    a.link.tick(OPEN_S * 5)
    assert ending(a) is None
    ticks(a, OPEN_S * 5, OPEN_S * 7)
    assert ending(a) is Ending.TIMED_OUT


def test_silence() -> None:
    """A life sign is asked for, and what answers it keeps the link; without one it ends."""
    a, b = opened()
    ticks(a, 0.0, KEEPALIVE_S + 1)
    assert a.cut_all() == [encode_frame([Ping(0)])]
    b.link.receive(encode_frame([Ping(0)]))
    (pong,) = b.cut_all()
    a.link.receive(pong)
    ticks(a, KEEPALIVE_S + 1, SILENCE_S + 1)
    assert ending(a) is None
    ticks(a, SILENCE_S + 1, KEEPALIVE_S + SILENCE_S + 3)
    assert ending(a) is Ending.TIMED_OUT
    assert a.link.traffic == 0


def test_closing_ends_in_time() -> None:
    """Though the peer takes nothing."""
    a, _ = opened()
    a.link.post(Opinion("x", ""))
    a.link.close()
    ticks(a, 0.0, CLOSE_S + 1)
    ((_, ended),) = a.told.ends
    assert ended.ending is Ending.TIMED_OUT
    assert ended.unsent == [Opinion("x", "")]


@given(st.lists(st.integers(1, 600_000), max_size=30), st.integers(0, 3000))
def test_frames_keep_their_limits(sizes: list[int], small: int) -> None:
    """And all messages, in order."""
    outbox = Outbox()
    sent: list[Message] = [Reply(n, bytes(size), 1, 1, 1) for n, size in enumerate(sizes)]
    sent += [Pong(n) for n in range(small)]
    for message in sent:
        encoded = encode_message(message)
        outbox.waiting.append((message, encoded))
        outbox.size_bytes += len(encoded)
    received: list[Message] = []
    while outbox:
        frame, count = outbox.cut()
        messages = decode_frame(frame)
        assert 0 < count == len(messages) <= FRAME_MESSAGES_MAX
        assert len(frame) <= FRAME_BYTES_MAX
        received += messages
    assert received == sent
    assert outbox.size_bytes == 0


@pytest.mark.parametrize(
    "error",
    [
        MailboxFull("full", at="Cart/a", hint="later"),
        Rejected("mine", "not today", at="Cart/a"),
        Rejected("mailbox-full", "a code of the user's own"),
        SpawnError("internal"),
    ],
)
def test_errors_travel(error: SpawnError) -> None:
    """With class, code, text, place and hint."""
    (refusal,) = decode_frame(encode_frame([refusal_of(7, error, 9)]))
    told = error_of(refusal)  # type: ignore[arg-type]
    assert type(told) is type(error)
    for name in ("code", "message", "at", "hint", "retryable"):
        assert getattr(told, name) == getattr(error, name)
