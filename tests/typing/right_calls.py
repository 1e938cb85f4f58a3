"""What type-checks, and to which types; checked by `test_types.py`, never run."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, assert_never, assert_type

from pydantic import BaseModel, ConfigDict

from spawn import Actor, Rejected, System, action, actor


@dataclass(frozen=True)
class Total:
    """A state."""

    total: int = 0


@dataclass(frozen=True)
class Added:
    """An event."""

    n: int


@dataclass(frozen=True)
class Reset:
    """Another event."""


@actor(idle_timeout_s=300)
class Counter(Actor[Total, Added | Reset]):
    """Event-sourced, as in the documentation."""

    @action
    def add(self, n: int, *, by: str = "") -> int:
        """Be plain."""
        if n < 0:
            raise Rejected("negative", f"cannot add {n} by {by}")
        self.emit(Added(n))
        assert_type(self.state, Total)
        return self.state.total

    @action
    async def reset(self) -> None:
        """Be async."""
        self.emit(Reset())

    @action.read
    def total(self) -> int:
        """Be read-only."""
        return self.state.total

    @action.read
    async def label(self, prefix: str = "") -> str:
        """Be read-only and async."""
        return f"{prefix}{self.id} {self.revision} {self.time} {self.caller} {self.metadata}"

    @action(blocking=True)
    def import_file(self, path: str, *, strict: bool = False) -> int:
        """Block, in a thread."""
        self.log.info("imports %s with %s, %s", path, self.request_id, strict)
        assert_type(self.deadline, datetime)
        assert_type(self.random.random(), float)
        self.delete()
        return self.state.total

    @action.read(blocking=True)
    def export(self) -> bytes:
        """Block in a read."""
        return b""

    @staticmethod
    def evolve(state: Total, event: Added | Reset) -> Total:
        """Cover every event."""
        match event:
            case Added(n):
                return replace(state, total=state.total + n)
            case Reset():
                return Total()
            case _:
                assert_never(event)


@actor
class Note(Actor[Total]):
    """State style, with every hook."""

    @classmethod
    def initial(cls, id: str) -> Total:  # noqa: A002 - as users write it
        """Begin by the id."""
        return Total(len(id))

    def on_create(self) -> None:
        """Begin."""
        self.state = Total(1)

    async def on_activate(self) -> None:
        """Be async; plain is fine too."""

    @action
    def write(self, total: int) -> None:
        """Set a new state."""
        self.state = Total(total)


class Line(BaseModel):
    """A pydantic model."""

    model_config = ConfigDict(frozen=True)
    sku: str


class Basket(BaseModel):
    """A state."""

    model_config = ConfigDict(frozen=True)
    lines: list[Line] = []


class Order(Actor[Basket]):
    """Pydantic models as state, parameter and reply."""

    @action
    def put(self, line: Line) -> Basket:
        """Set a new state."""
        self.state = Basket(lines=[*self.state.lines, line])
        return self.state


system = System("shop", actors=[Counter, Note, Order])


async def call() -> None:
    """Call actions of all kinds."""
    counter = system.actor(Counter, "a")
    assert_type(counter, Counter)
    assert_type(await counter.add(5), int)
    assert_type(await counter.add(n=5, by="x"), int)
    assert_type(await counter.reset(), None)
    assert_type(await counter.total(), int)
    assert_type(await counter.label("x"), str)
    assert_type(await system.actor(Counter, "a").add.options(timeout_s=2)(5, by="x"), int)
    assert_type(await counter.import_file("x", strict=True), int)
    assert_type(await counter.export(), bytes)
    assert_type(await counter.get_state(), Total)
    assert_type(await system.actor(Note).get_state(), Total)
    assert_type(await system.actor(Order, "o").get_state(), Basket)
    assert_type(await system.actor(Order, "o").put(Line(sku="pen")), Basket)
    both = await asyncio.gather(counter.add(1), counter.label())
    assert_type(both, tuple[int, str])
    assert_type(await system.actor(Note).write(5), None)
    reply: Callable[[], Coroutine[Any, Any, int]] = counter.total
    assert_type(await reply(), int)
    await assert_type(counter.add(5), Coroutine[None, None, int])
