"""A mesh in memory, for simulations: what happens to each delivery is told by a callback.

It has no clock and no dice of its own: time, timers and fates are passed in. The conversations are
those of production, frames are encoded and decoded, so a message is never shared between nodes.

A stream of TCP keeps its order and loses nothing but its end; here frames may be lost, repeated or
overtake each other, so that what is above is held to rest on nothing of the kind. Two things stay
as they are in production: the greeting comes before all else, and who sends to a process that has
ended, or has left the link, is told so (as TCP's reset does), if the way back lets it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Literal, NamedTuple, Protocol

from spawn.mesh.conversation import TICK_S, Conversation
from spawn.mesh.link import Ending, Link, MeshCounts, Receiver
from spawn.mesh.wire import Hello

__all__ = ["Delivery", "Fate", "MemoryMesh", "MemoryNetwork", "RunAt", "at_once"]

_REFUSED: Final = "nobody listens there"
_BROKEN: Final = "the connection broke"


class Delivery(NamedTuple):
    """Something on its way from one node to another."""

    source: str
    """Endpoint."""
    target: str
    what: Literal["open", "frame", "end"]
    """A connection's first packet with the greeting, a frame, or the end of the stream."""
    size_bytes: int


Fate = Callable[[Delivery], Sequence[float]]
"""After how many seconds each copy of a delivery arrives; none: it is lost. Of what opens or ends a
link the first copy alone counts. A way that is cut loses everything."""


class Schedule(Protocol):
    """`loop.call_later`, or a simulation's own."""

    def __call__(self, delay_s: float, callback: Callable[[], None], /) -> object: ...


RunAt = Callable[[str, Callable[[], None]], None]
"""Runs what the process at an endpoint has to do: one that stands still does it later. Where there
is none its system does, at once."""


def _run_now(endpoint: str, work: Callable[[], None]) -> None:
    work()


def at_once(delivery: Delivery) -> Sequence[float]:
    """Return the fate of a network without faults."""
    return (0.0,)


class MemoryNetwork:
    """Joins the meshes of one simulated world."""

    def __init__(self, schedule: Schedule, now: Callable[[], float], fate: Fate = at_once) -> None:
        self.schedule, self.now = schedule, now
        self.fate = fate
        self.run_at: RunAt = _run_now
        self._meshes: dict[str, MemoryMesh] = {}

    def join(self, hello: Hello, receiver: Receiver) -> MemoryMesh:
        """Start a node's mesh at `hello.endpoint`; one that is there already is killed."""
        self.kill(hello.endpoint)
        mesh = self._meshes[hello.endpoint] = MemoryMesh(self, hello, receiver)
        return mesh

    def kill(self, endpoint: str) -> None:
        """End a node's process, without a word; its receiver is told nothing any more."""
        mesh = self._meshes.pop(endpoint, None)
        if mesh is not None:
            mesh.kill()

    def reset(self, one: str, other: str) -> None:
        """Break the connections between two nodes; both ends notice at once."""
        for mesh in list(self._meshes.values()):
            mesh.reset({one, other})

    def at(self, endpoint: str) -> MemoryMesh | None:
        """Return the mesh that listens at an endpoint."""
        return self._meshes.get(endpoint)


class MemoryMesh:
    """Implements `spawn.mesh.link.Mesh`."""

    def __init__(self, network: MemoryNetwork, hello: Hello, receiver: Receiver) -> None:
        self.network, self.hello, self.receiver = network, hello, receiver
        self.counts = MeshCounts()
        self.is_dead = False
        # A dict for its order: a set would make a simulation differ from run to run.
        self._ends: dict[_End, None] = {}

    def open(self, endpoint: str) -> Link:
        return self.add(_End(self, endpoint, None)).conversation

    def add(self, end: _End) -> _End:
        """Keep one end of a link while it lives."""
        self._ends[end] = None
        return end

    def forget(self, end: _End) -> None:
        """Keep it no longer."""
        self._ends.pop(end, None)

    def kill(self) -> None:
        """End the process: what it posted and did not send is gone."""
        self.is_dead = True
        for end in list(self._ends):
            end.kill()

    def reset(self, between: set[str]) -> None:
        """Break the connections whose two ends are these."""
        for end in list(self._ends):
            if {self.hello.endpoint, end.conversation.endpoint} == between:
                self.network.run_at(self.hello.endpoint, end.break_off)

    async def close(self) -> None:
        """Take leave of all peers and listen no more."""
        for end in list(self._ends):
            end.conversation.close()
            end.flush()
        if self.network.at(self.hello.endpoint) is self:
            self.network.kill(self.hello.endpoint)


class _End:
    """One end of a link."""

    def __init__(self, mesh: MemoryMesh, endpoint: str, other: _End | None) -> None:
        network = mesh.network
        self._mesh, self._network, self._other = mesh, network, other
        self._target = endpoint if other is None else other.home
        self._flush_is_due = False
        self._sent = 0
        self._is_over = False
        self.conversation = Conversation(
            mesh.hello, mesh.receiver, mesh.counts, self._wake, network.now(), endpoint=endpoint
        )
        network.schedule(TICK_S, self._tick_is_due)
        if other is None:
            self._wake()

    @property
    def home(self) -> str:
        """The endpoint of the node that has it."""
        return self._mesh.hello.endpoint

    def kill(self) -> None:
        """The process has ended: the other end is told by its system, if the way lets it."""
        self._say_over()

    def break_off(self) -> None:
        """The connection broke."""
        self._end(Ending.RESET, _BROKEN)

    # --- sending ---------------------------------------------------------------------------------

    def _wake(self) -> None:
        # What is posted in the same turn shares a frame.
        if not self._flush_is_due and not self._is_over:
            self._flush_is_due = True
            self._network.schedule(0.0, self.flush)

    def flush(self) -> None:
        """Send what waits."""
        self._flush_is_due = False
        if self._is_over or self._mesh.is_dead:
            return
        while (frame := self.conversation.cut()) is not None:
            self._send_frame(frame)
        if self.conversation.ended is not None:
            self._say_over()

    def _send_frame(self, frame: bytes) -> None:
        other = self._other
        if other is None:
            self._send("open", len(frame), self._at_peer(partial(self._open, frame)))
        else:
            arrive = self._at_peer(partial(other.take, frame, self._sent))
            self._send("frame", len(frame), arrive)
            self._sent += 1

    def _send(
        self,
        what: Literal["open", "frame", "end"],
        size_bytes: int,
        arrive: Callable[[], None],
    ) -> None:
        source = self._mesh.hello.endpoint
        delays = self._network.fate(Delivery(source, self._target, what, size_bytes))
        for delay_s in delays if what == "frame" else delays[:1]:
            self._network.schedule(delay_s, arrive)

    def _say_over(self) -> None:
        self._is_over = True
        self._mesh.forget(self)
        if self._other is not None:
            self._send("end", 0, self._at_peer(self._other.hear_end))

    def _at_peer(self, arrive: Callable[[], None]) -> Callable[[], None]:
        return partial(self._network.run_at, self._target, arrive)

    # --- arrivals --------------------------------------------------------------------------------

    def _open(self, frame: bytes) -> None:
        """The first packet has arrived at the other node."""
        target = self._network.at(self._target)
        if target is None:
            source = self._mesh.hello.endpoint
            refusal = Delivery(self._target, source, "end", 0)
            for delay_s in self._network.fate(refusal)[:1]:
                at_home = partial(self._network.run_at, self.home, self._hear_refusal)
                self._network.schedule(delay_s, at_home)
            return
        other = self._other = target.add(_End(target, "", self))
        other.take(frame, 0)
        if self._is_over:
            self._send("end", 0, self._at_peer(other.hear_end))

    def _hear_refusal(self) -> None:
        self._end(Ending.REFUSED, _REFUSED)

    def take(self, frame: bytes, number: int) -> None:
        """A frame has arrived."""
        if self._is_over or self._mesh.is_dead:
            # The system answers for a process that is gone, or holds no such link any more.
            if self._other is not None:
                self._send("end", 0, self._at_peer(self._other.hear_end))
            return
        if number and self.conversation.peer is None:
            return
        self.conversation.receive(frame)

    def hear_end(self) -> None:
        """The other end is over."""
        self._end(Ending.RESET, _BROKEN)

    def _end(self, ending: Ending, text: str) -> None:
        if self._mesh.is_dead or self._is_over:
            return
        self._is_over = True
        self._mesh.forget(self)
        self.conversation.finish(ending, text)

    def _tick_is_due(self) -> None:
        if not self._is_over and not self._mesh.is_dead:
            self._network.run_at(self.home, self._tick)

    def _tick(self) -> None:
        if not self._is_over and not self._mesh.is_dead:
            self.conversation.tick(self._network.now())
            self._network.schedule(TICK_S, self._tick_is_due)
