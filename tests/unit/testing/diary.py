"""Actor types that the test kit is tried with, sound and unsound ones."""

from __future__ import annotations

import asyncio
import itertools
import threading
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from spawn import Actor, Rejected, action, actor

told: list[str] = []
"""What hooks did; a test that looks at it clears it first."""
ticks = itertools.count(1)
factor = 1
"""What a test sets to another number while no actor is in memory."""


@dataclass(frozen=True)
class Wrote:
    """Event: a line was written."""

    line: str
    at: datetime | None = None


@dataclass(frozen=True)
class Cleared:
    """Event: all lines were struck out."""


@dataclass(frozen=True)
class Page:
    """State of a diary."""

    lines: tuple[str, ...] = ()
    last: datetime | None = None


class Diary(Actor[Page, Wrote | Cleared]):
    """Event-sourced, with every hook and every kind of action."""

    def on_create(self) -> None:
        """Begin each life with a line."""
        self.emit(Wrote(f"diary of {self.id}"))

    async def on_activate(self) -> None:
        """Note that it came into memory, and how it was then."""
        await asyncio.sleep(0)
        told.append(f"{self.id}@{self.revision}")

    @action
    def write(self, line: str, *, times: int = 1) -> int:
        """Write a line so many times; returns how many there are."""
        if not line:
            raise Rejected("empty", "an empty line says nothing")
        for _ in range(times):
            self.emit(Wrote(line, self.time))
        return len(self.state.lines)

    @action
    async def write_slowly(self, line: str) -> str:
        """Write a line, after a pause."""
        await asyncio.sleep(0)
        self.emit(Wrote(line))
        await asyncio.sleep(0)
        return line

    @action(blocking=True)
    def thread(self) -> str:
        """Write down in which thread it runs."""
        self.emit(Wrote(threading.current_thread().name))
        return self.state.lines[-1]

    @action
    def sign(self) -> str:
        """Write who asks for it."""
        self.emit(Wrote(f"{self.caller} {dict(self.metadata)}"))
        return self.caller

    @action
    def clear(self) -> None:
        """Strike everything out."""
        self.emit(Cleared())

    @action
    def tear(self) -> None:
        """Delete the diary."""
        self.delete()

    @action
    def skip(self) -> None:
        """Change nothing."""

    @action
    def burn(self) -> None:
        """Fail."""
        raise ZeroDivisionError("no fire")

    @action
    def due(self) -> timedelta:
        """Return how long the caller waits."""
        return self.deadline - self.time

    @action.read
    def last(self) -> datetime | None:
        """Return when the last line was written."""
        return self.state.last

    @action.read
    async def count(self) -> int:
        """Return how many lines there are."""
        await asyncio.sleep(0)
        return len(self.state.lines)

    @staticmethod
    def evolve(state: Page, event: Wrote | Cleared) -> Page:
        """Be pure."""
        match event:
            case Wrote(line, at):
                return Page((*state.lines, line), at or state.last)
            case Cleared():
                return Page()


@dataclass(frozen=True)
class Sum:
    """A state that does not survive being stored when it says so."""

    total: int = 0
    ratio: float = 0.0
    stamp: int = field(default=0)


@dataclass(frozen=True)
class Put:
    """Event: a number was put in."""

    n: int


class Impure(Actor[Sum, Put]):
    """Its evolve looks at something else than its arguments."""

    @action
    def put(self, n: int) -> int:
        """Put a number in."""
        self.emit(Put(n))
        return self.state.total

    @staticmethod
    def evolve(state: Sum, event: Put) -> Sum:
        """Count how often it is called."""
        return replace(state, total=state.total + event.n, stamp=next(ticks))


class Moody(Impure):
    """Its evolve raises in the replay alone."""

    @staticmethod
    def evolve(state: Sum, event: Put) -> Sum:
        """Raise each second time."""
        if next(ticks) % 2 == 0:
            raise RuntimeError("not again")
        return replace(state, total=state.total + event.n)


class NotNumber(Impure):
    """Its state holds a value that is not equal to itself."""

    @staticmethod
    def evolve(state: Sum, event: Put) -> Sum:
        """Be pure all the same."""
        return replace(state, ratio=float("nan"))


@dataclass(frozen=True)
class Forgetful:
    """A state that is another one each time it is made."""

    total: int = 0
    made: int = 0

    def __post_init__(self) -> None:
        """Count how often one was made."""
        object.__setattr__(self, "made", next(ticks))


class Unstorable(Actor[Forgetful, Put]):
    """Its state comes back changed from a snapshot."""

    @action
    def put(self, n: int) -> int:
        """Put a number in."""
        self.emit(Put(n))
        return self.state.total

    @staticmethod
    def evolve(state: Forgetful, event: Put) -> Forgetful:
        """Fold."""
        return Forgetful(state.total + event.n)


class Box(Actor[Sum]):
    """State style."""

    @action
    def put(self, n: int) -> int:
        """Set a new state."""
        self.state = Sum(self.state.total + n)
        return self.state.total


class ForgetfulBox(Actor[Forgetful]):
    """State style, with a state that comes back changed."""

    @action
    def put(self, n: int) -> None:
        """Set a new state."""
        self.state = Forgetful(n)


@actor(named=True)
class Registry(Actor[Sum, Put]):
    """There is one of it."""

    @action
    def put(self, n: int) -> str:
        """Put a number in; returns the id."""
        self.emit(Put(n))
        return self.id

    @staticmethod
    def evolve(state: Sum, event: Put) -> Sum:
        """Add."""
        return replace(state, total=state.total + event.n * factor)


class Waiting(Actor[Sum, Put]):
    """Waits until a test lets it go on."""

    gates: list[asyncio.Event] = []  # noqa: RUF012 - the test's way in

    @action
    async def put(self, n: int) -> int:
        """Put a number in, when the gate opens."""
        await self.gates[-1].wait()
        self.emit(Put(n))
        return self.state.total

    evolve = staticmethod(Registry.evolve)
