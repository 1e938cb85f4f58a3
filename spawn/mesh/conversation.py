"""One link's conversation without the network: greeting, order, bounds, life signs (pure).

An adapter moves frames: what `receive` is given has arrived, what `cut` returns is to be sent. It
calls `finish` when the stream is over and `tick` a few times a second, and is woken when there is
something to do. Both adapters drive this one, so they differ in nothing else.

    opening --hello--> open --close()--> closing --bye--> ended
    any of them --stream over, bye received, objection, silence, abort()--> ended
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Final

from spawn.errors import BodyTooLarge, NodeUnreachable, TooManyWaiting
from spawn.mesh.greeting import objection
from spawn.mesh.link import (
    ANSWERS_BYTES_MAX,
    ANSWERS_MAX,
    WAITING_BYTES_MAX,
    WAITING_MAX,
    Ended,
    Ending,
    MeshCounts,
    Receiver,
)
from spawn.mesh.outbox import MESSAGE_BYTES_MAX, Outbox
from spawn.mesh.wire import (
    FRAME_BYTES_MAX,
    Bye,
    FrameError,
    HandoverAnswer,
    Hello,
    Message,
    Ping,
    Pong,
    Redirect,
    Refusal,
    Reply,
    Taken,
    Unfollow,
    decode_frame,
    encode_frame,
    encode_message,
)

__all__ = ["CLOSE_S", "KEEPALIVE_S", "OPEN_S", "SILENCE_S", "TICK_S", "Conversation"]

TICK_S: Final = 0.25
"""How often an adapter calls `tick`; the times below are kept that exactly."""
OPEN_S: Final = 1.0
"""Until the peer has greeted. A node that lives does within milliseconds; longer only delays that
callers are sent elsewhere."""
CLOSE_S: Final = 1.0
"""Until what waits is sent when a link is closed."""
KEEPALIVE_S: Final = 5.0
"""A link on which nothing arrived for so long is asked for a life sign."""
SILENCE_S: Final = 10.0
"""So long without one ends it. Whoever needs to know sooner pings (`spawn.mesh.health`)."""
_STOOD_STILL_S: Final = 1.0
"""A tick so late says that this process stood still: silence then proves nothing."""

_KEEPALIVE_NONCE: Final = 0
_ANSWERS: Final = (Reply, Refusal, Redirect, Pong, HandoverAnswer, Taken, Unfollow)
_OWN: Final = frozenset((Hello, Bye, Ping, Pong))


class _Phase(IntEnum):
    OPENING = 0
    OPEN = 1
    CLOSING = 2
    ENDED = 3


_CLOSING: Final = _Phase.CLOSING


class Conversation:
    """Implements `spawn.mesh.link.Link`."""

    __slots__ = (
        *("endpoint", "ended", "peer", "traffic"),
        *("_accepted", "_asked", "_begun", "_counts", "_closing", "_heard", "_heard_frames"),
        *("_last_id", "_last_tick", "_outbox", "_ours", "_own_frames", "_phase", "_receiver"),
        *("_received_frames", "_wake"),
    )

    def __init__(
        self,
        ours: Hello,
        receiver: Receiver,
        counts: MeshCounts,
        wake: Callable[[], None],
        now: float,
        *,
        endpoint: str = "",
    ) -> None:
        """Begin one: with an endpoint it is ours to open, without it was accepted."""
        self._ours, self._receiver, self._counts, self._wake = ours, receiver, counts, wake
        self.endpoint = endpoint
        self.peer: Hello | None = None
        self.ended: Ended | None = None
        self.traffic = 0
        self._accepted = not endpoint
        self._phase = _Phase.OPENING
        self._outbox = Outbox()
        # Greeting and leave, which no limit keeps back.
        self._own_frames: list[bytes] = [] if self._accepted else [encode_frame([ours])]
        self._last_id = 0
        self._begun = self._heard = self._last_tick = now
        self._closing: float | None = None
        self._asked = False
        self._received_frames = self._heard_frames = 0

    # --- Link ------------------------------------------------------------------------------------

    def new_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def post(self, message: Message) -> None:
        if self._phase >= _CLOSING:
            if isinstance(message, _ANSWERS):
                return
            raise NodeUnreachable(
                f"the link to {self.endpoint} has ended"
                + (f": {self.ended.text}" if self.ended is not None else ""),
                hint="call again",
            )
        encoded = encode_message(message)
        size = len(encoded)
        if size > MESSAGE_BYTES_MAX:
            raise BodyTooLarge(
                f"a {type(message).__name__} does not fit a frame of {FRAME_BYTES_MAX} bytes"
            )
        outbox = self._outbox
        waiting = outbox.waiting
        count, size_bytes = len(waiting), outbox.size_bytes + size
        if count >= WAITING_MAX or size_bytes > WAITING_BYTES_MAX:
            if not isinstance(message, _ANSWERS):
                self._counts.overflows += 1
                raise TooManyWaiting(
                    f"{count} messages of {outbox.size_bytes} bytes wait for node "
                    f"{self.endpoint}, as many as may",
                    hint="call again later",
                )
            if count >= ANSWERS_MAX or size_bytes > ANSWERS_BYTES_MAX:
                self._end(Ending.SLOW, "slow", f"{self.endpoint} does not take its answers")
                return
        waiting.append((message, encoded))
        outbox.size_bytes = size_bytes
        self.traffic += 1
        if not count:
            self._wake()

    def close(self) -> None:
        if self._phase is _Phase.OPEN and len(self._outbox):
            self._phase = _Phase.CLOSING
            self._wake()
        elif self._phase <= _Phase.OPEN:
            self._leave("closed", "")
            self._end(Ending.CLOSED, "closed", "closed by this node")

    def abort(self, ending: Ending, text: str) -> None:
        self._end(ending, ending.value, text)

    # --- for the adapter -------------------------------------------------------------------------

    def cut(self) -> bytes | None:
        """Return the next frame to be sent; None: there is none now.

        Once `ended` is set and there is none, the stream is to be ended.
        """
        if self._own_frames:
            return self._own_frames.pop(0)
        if not self._outbox or self._phase is _Phase.OPENING:
            return None
        frame, count = self._outbox.cut()
        counts = self._counts
        counts.frames_sent += 1
        counts.messages_sent += count
        counts.bytes_sent += len(frame)
        if self._phase is _Phase.CLOSING and not self._outbox:
            self._leave("closed", "")
            self._end(Ending.CLOSED, "closed", "closed by this node")
        return frame

    def receive(self, frame: bytes) -> None:
        """Take a frame that arrived; what comes behind the end is dropped."""
        if self._phase is _Phase.ENDED:
            return
        self._received_frames += 1
        counts = self._counts
        counts.frames_received += 1
        counts.bytes_received += len(frame)
        try:
            messages = decode_frame(frame)
        except FrameError as error:
            self._refuse(error.flaw.value, str(error))
            return
        counts.messages_received += len(messages)
        if self._phase is _Phase.OPENING:
            self._greeted(messages)
            return
        if not _OWN.isdisjoint(map(type, messages)):
            messages = self._without_own(messages)
        else:
            self.traffic += len(messages)
        if messages:
            self._receiver.received(self, messages)

    def finish(self, ending: Ending, text: str) -> None:
        """The stream is over, for a reason that the adapter knows; nothing is sent any more."""
        self._own_frames.clear()
        self._end(ending, ending.value, text)

    def refuse(self, reason: str, text: str) -> None:
        """Refuse the peer for what the adapter sees."""
        self._refuse(reason, text)

    def tick(self, now: float) -> None:
        """Keep the times; `now` is a monotonic clock in seconds."""
        if self._phase is _Phase.ENDED:
            return
        late_s = now - self._last_tick - TICK_S
        self._last_tick = now
        if late_s > _STOOD_STILL_S:
            self._begun += late_s
            self._heard += late_s
        if self._received_frames != self._heard_frames:
            self._heard_frames, self._heard, self._asked = self._received_frames, now, False
        silent_s = now - self._heard
        if self._phase is _Phase.OPENING:
            if now - self._begun >= OPEN_S:
                self._end(
                    Ending.TIMED_OUT, "timed-out", f"{self._name()} did not greet in {OPEN_S:g} s"
                )
        elif silent_s >= SILENCE_S:
            text = f"{self._name()} said nothing for {silent_s:.0f} s"
            self._end(Ending.TIMED_OUT, "timed-out", text)
        elif self._phase is _Phase.CLOSING:
            self._closing = now if self._closing is None else self._closing
            if now - self._closing >= CLOSE_S:
                text = f"{self._name()} did not take what was waiting"
                self._end(Ending.TIMED_OUT, "timed-out", text)
        elif silent_s >= KEEPALIVE_S and not self._asked:
            self._asked = True
            self._own_frames.append(encode_frame([Ping(_KEEPALIVE_NONCE)]))
            self._wake()

    # --- inside ----------------------------------------------------------------------------------

    def _name(self) -> str:
        return self.endpoint or "a peer"

    def _greeted(self, messages: list[Message]) -> None:
        """Take the first frame: one Hello, or the peer's refusal."""
        match messages:
            case [Hello() as hello]:
                against = objection(self._ours, hello)
                if against is not None:
                    self._refuse(*against)
                    return
            case [Bye(reason=reason, text=text), *_]:
                self._end(Ending.DENIED, reason[:40], f"{self._name()} refuses this node: {text}")
                return
            case _:
                self._refuse("no-hello", "it did not greet")
                return
        self.peer = hello
        self._counts.opened += 1
        if self._accepted:
            self.endpoint = hello.endpoint
            self._own_frames.append(encode_frame([self._ours]))
        self._phase = _Phase.OPEN
        self._wake()
        self._receiver.opened(self)

    def _without_own(self, messages: list[Message]) -> list[Message]:
        """Do what concerns the link itself, and return the rest, with answers to pings."""
        rest: list[Message] = []
        for message in messages:
            match message:
                case Ping(nonce=nonce) if nonce == _KEEPALIVE_NONCE:
                    # One that waits answers all of them: nobody fills our memory by asking.
                    if not self._own_frames:
                        self._own_frames.append(encode_frame([Pong(nonce)]))
                        self._wake()
                    continue
                case Ping(nonce=nonce):
                    self.post(Pong(nonce))
                case Pong(nonce=nonce) if nonce == _KEEPALIVE_NONCE:
                    continue
                case Hello():
                    continue
                case Bye(reason=reason, text=text):
                    if rest:
                        self._receiver.received(self, rest)
                    self._taken_leave(reason, text)
                    return []
                case _:
                    rest.append(message)
            self.traffic += 1
        return rest

    def _taken_leave(self, reason: str, text: str) -> None:
        if reason == "closed":
            self._end(Ending.CLOSED, "closed", f"closed by {self._name()}")
        else:
            self._end(Ending.DENIED, reason[:40], f"{self._name()} refuses this node: {text}")

    def _refuse(self, reason: str, text: str) -> None:
        if self._phase is _Phase.ENDED:
            return
        self._counts.refusals[reason] += 1
        self._leave(reason, text)
        self._end(Ending.PROTOCOL, reason, f"{self._name()} is refused: {text}")

    def _leave(self, reason: str, text: str) -> None:
        self._own_frames.append(encode_frame([Bye(reason, text)]))

    def _end(self, ending: Ending, reason: str, text: str) -> None:
        if self._phase is _Phase.ENDED:
            return
        self._phase = _Phase.ENDED
        ended = self.ended = Ended(ending, reason, text, self._outbox.clear())
        self._counts.endings[ending.value] += 1
        self._wake()
        if not self._accepted or self.peer is not None:
            self._receiver.ended(self, ended)
