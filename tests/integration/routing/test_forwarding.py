"""Calls on a node that does not own their actor come to the same as on its owner."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import pytest

from eventstore.log import LogRecord, TopicSettings
from eventstore.records import RequestNumber
from spawn import Actor, System, action
from spawn.core.commands import Command
from spawn.core.ingress import Call, CommitsAsked
from spawn.errors import (
    BodyMismatch,
    CallError,
    InvalidId,
    KeyReused,
    NotStarted,
    OutcomeUnknown,
    SpawnError,
    UnknownAction,
    UnknownRevision,
    UnknownType,
)
from spawn.routing.owners import OwnerTable
from spawn.runtime.dispatcher import NodeDispatcher
from spawn.sdk.behavior import ClassBehavior
from tests.integration.routing.nodes import SYSTEM, Nodes


@dataclass(frozen=True)
class Total:
    total: int = 0


@dataclass(frozen=True)
class Added:
    n: int


class Counter(Actor[Total, Added]):
    """Adds."""

    @action
    def add(self, n: int) -> int:
        self.emit(Added(n))
        return self.state.total

    @action
    async def slow(self, seconds: float) -> int:
        await asyncio.sleep(seconds)
        self.emit(Added(1))
        return self.state.total

    @action.read
    def total(self) -> int:
        return self.state.total

    @staticmethod
    def evolve(state: Total, event: Added) -> Total:
        return Total(state.total + event.n)


def call(
    action: str,
    body: bytes = b"",
    actor: str = "x",
    kind: str = "Counter",
    timeout_s: float = 5.0,
    **more: Any,
) -> Call:
    return Call(kind, actor, action, body, timeout_s, **more)


def both() -> dict[str, list[ClassBehavior]]:
    return {name: [ClassBehavior(Counter)] for name in ("b", "a")}


async def test_calls_reads_and_deletes_are_answered_as_by_the_owner() -> None:
    """Reply, revision, position and time are the owner's."""
    nodes = Nodes()
    async with nodes.running(**both()) as running:
        a, b = running["a"], running["b"]
        answer = await a.invoke(call("add", b"5"))
        assert (answer.reply, answer.revision) == (b"5", 1)
        assert answer.position is not None
        assert answer.position[:2] == nodes.place("Counter", "x")
        assert a.log_time_us("Counter", "x") == b.log_time_us("Counter", "x") > 0
        assert (await a.invoke(call("total"))).reply == b"5"
        assert (await a.state("Counter", "x", 5.0)).state == b'{"total":5}'
        await a.invoke(call("add", b"2"))
        past = await a.state("Counter", "x", 5.0, 1)
        assert (past.state, past.revision) == (b'{"total":5}', 1)
        with pytest.raises(UnknownRevision):
            await a.state("Counter", "x", 5.0, 9)
        listed = await a.commits("Counter", "x", CommitsAsked(1, 10, True), 5.0)
        assert [commit.revision for commit in listed] == [2, 1]
        assert (await a.delete("Counter", "x", 5.0)).revision == 3
        assert (await b.invoke(call("total"))).reply == b"0"
        assert a.log_time_us("Counter", "x") == b.log_time_us("Counter", "x")
        assert a.log_time_us("Nothing", "x") == 0


async def test_keys_and_numbers_are_kept() -> None:
    """A caller's own number is the request's only one; a key binds on every node."""
    async with Nodes().running(**both()) as running:
        a, b = running["a"], running["b"]
        number = RequestNumber(b"s" * 16, 1, 1, time.time_ns() // 1000)
        first = await a.invoke(call("add", b"5", request=number))
        assert await b.invoke(call("add", b"5", request=number)) == first
        assert await a.invoke(call("add", b"5", request=number)) == first
        sessions = b._by_place[first.position[:2]].machine.fold.sessions  # type: ignore[index]
        assert list(sessions.by_id) == [b"s" * 16]
        keyed = await a.invoke(call("add", b"1", key="k"))
        again = await b.invoke(call("add", b"1", key="k"))
        assert (keyed.reply, keyed.revision) == (again.reply, again.revision) == (b"6", 2)
        with pytest.raises(KeyReused):
            await a.invoke(call("add", b"2", key="k"))
        await a.delete("Counter", "x", 5.0, "gone")
        await a.delete("Counter", "x", 5.0, "gone")
        assert (await a.state("Counter", "x", 5.0)).revision == 3


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (call("add", b'"text"'), BodyMismatch),
        (call("subtract", b"1"), UnknownAction),
        (call("add", b"1", actor="i" * 300), InvalidId),
        (call("add", b"1", kind="Kounter"), UnknownType),
    ],
)
async def test_what_is_wrong_with_a_call_is_told_as_by_the_owner(
    asked: Call, error: type[SpawnError]
) -> None:
    """The same error with the same words, and nothing breaks."""
    async with Nodes().running(**both()) as running:
        told = []
        for name in ("a", "b"):
            with pytest.raises(error) as caught:
                await running[name].invoke(asked)
            told.append((str(caught.value), caught.value.at))
        assert told[0] == told[1]
        assert (await running["a"].invoke(call("add", b"1"))).reply == b"1"
        assert not running["a"]._outstanding


async def test_deadlines_and_callers_that_leave() -> None:
    """What was sent may have been executed; what was not is told so."""
    nodes = Nodes()
    async with nodes.running(**both()) as running:
        a, b = running["a"], running["b"]
        with pytest.raises(OutcomeUnknown):
            await a.invoke(call("slow", b"0.5", timeout_s=0.1))
        left = a.invoke(call("slow", b"0.01"))
        left.cancel()
        await asyncio.sleep(0)
        assert (await a.invoke(call("add", b"1"))).reply == b"3"
        assert not a._outstanding
        assert a._outstanding == b._outstanding
        nodes.network.fate = lambda delivery: ()
        nodes.routers["a"].hint = lambda at: ""
        nodes.routers["a"].owners = OwnerTable()
        with pytest.raises(NotStarted):
            await a.invoke(call("add", b"1", timeout_s=0.2))


async def test_a_move_under_load_loses_and_repeats_nothing() -> None:
    """Callers on both nodes, while the partition goes to and fro."""
    nodes = Nodes(partitions=1)
    async with nodes.running(**both()) as running:
        at = nodes.place("Counter", "x")

        async def load(node: NodeDispatcher) -> None:
            for _ in range(100):
                await node.invoke(call("add", b"1"))
                await asyncio.sleep(0.005)

        loads = asyncio.gather(*(load(running[name]) for name in ("a", "b") for _ in range(3)))
        for owner in ("a", "b", "a"):
            await asyncio.sleep(0.2)
            nodes.give(at, owner)
        await loads
        assert (await running["b"].invoke(call("total"))).reply == b"600"


async def test_a_type_that_only_others_host_is_called_by_name() -> None:
    """Over HTTP's port and by references; its past and present, too."""
    nodes = Nodes()

    class Nothing(Actor[Total, Added]):
        @staticmethod
        def evolve(state: Total, event: Added) -> Total:
            return state

    async with nodes.running(b=[ClassBehavior(Counter)], a=[ClassBehavior(Nothing)]) as running:
        a = running["a"]
        assert (await a.invoke(call("add", b"5"))).reply == b"5"
        assert (await a.invoke(call("total"))).reply == b"5"
        await a.invoke(call("add", b"2"))
        assert (await a.state("Counter", "x", 5.0)).state == b'{"total":7}'
        assert (await a.state("Counter", "x", 5.0, 1)).state == b'{"total":5}'
        listed = await a.commits("Counter", "x", CommitsAsked(1, 10, False), 5.0)
        assert [commit.events for commit in listed] == [
            [("Added", b'{"n":5}')],
            [("Added", b'{"n":2}')],
        ]
        with pytest.raises(UnknownRevision):
            await a.state("Counter", "x", 5.0, 9)
        with pytest.raises(UnknownAction):
            await a.invoke(call("subtract"))
        with pytest.raises(BodyMismatch):
            await a.invoke(call("add", b"{}"))
        assert (await a.delete("Counter", "x", 5.0)).revision == 3
        assert a.log_time_us("Counter", "x") > 0
        for ask in (
            a.state("Kounter", "x", 5.0),
            a.commits("Kounter", "x", CommitsAsked(1, 10, False), 5.0),
        ):
            with pytest.raises(UnknownType):
                await ask
        with pytest.raises(UnknownType):
            a.follow("Kounter", "x", None)


class Newer(Actor[Total, Added]):
    """Another version of Counter."""

    @action
    def add(self, n: int, twice: bool) -> str:
        self.emit(Added(n))
        return "done"

    @action
    def total(self) -> int:
        self.emit(Added(1))
        return self.state.total

    @action
    def more(self) -> int:
        return 1

    @staticmethod
    def evolve(state: Total, event: Added) -> Total:
        return Total(state.total + event.n)


async def test_nodes_with_different_versions_of_a_class_tell_clear_errors() -> None:
    """An action that is unknown, takes or gives something else, or changes what it only read."""
    newer = ClassBehavior(Newer)
    newer.type = "Counter"
    async with Nodes().running(b=[newer], a=[ClassBehavior(Counter)]) as running:
        a = running["a"]
        with pytest.raises(UnknownAction, match="no action `slow`"):
            await a.invoke(call("slow", b"1"))
        with pytest.raises(BodyMismatch):
            await a.invoke(call("add", b"1"))
        with pytest.raises(CallError, match="only reads it on the node"):
            await a.invoke(call("total"))
        assert (await a.invoke(call("more"))).reply == b"1"
        assert (await a.state("Counter", "x", 5.0)).revision == 0
        system = System(SYSTEM, actors=[Counter])
        system.bind(a)
        with pytest.raises(BodyMismatch):
            await system.actor(Counter, "x").add(1)


async def test_what_was_told_not_to_have_begun_is_not_handed_on() -> None:
    """A command whose caller has gone is no other node's matter."""
    nodes = Nodes()
    async with nodes.running(**both()) as running:
        a, router = running["a"], nodes.routers["a"]
        waiter = a.new_waiter()
        command = Command("Counter", b"x", "add", b"1", (1,), a.now() + 5, waiter)
        waiter.set_exception(NotStarted("its deadline passed"))
        router.send(command, nodes.place("Counter", "x"))
        await asyncio.sleep(0.1)
        assert (await a.invoke(call("total"))).reply == b"0"
        waiter.exception()


async def test_a_refusal_says_nothing_of_copies_from_before() -> None:
    """A command that was sent once, came back and is sent again may be in effect already."""
    nodes = Nodes()
    async with nodes.running(**both()) as running:
        a, router = running["a"], nodes.routers["a"]
        waiter = a.new_waiter()
        command = Command("Counter", b"x", "unheard_of", b"1", (1,), a.now() + 5, waiter)
        command.started = True
        router.send(command, nodes.place("Counter", "x"))
        await asyncio.sleep(0.2)
        assert not waiter.done()
        waiter.cancel()


async def test_a_clock_that_went_back_costs_no_caller_anything() -> None:
    """The number that was refused as too old is drawn anew."""
    nodes = Nodes()
    async with nodes.running(**both()) as running:
        a, router = running["a"], nodes.routers["a"]
        assert (await a.invoke(call("add", b"1"))).reply == b"1"
        router._places.clear()  # nothing is known of the partition's time
        router._session = b"s" * 16
        router._time_us = lambda: 1_000_000
        assert (await a.invoke(call("add", b"1"))).reply == b"2"


@pytest.mark.parametrize("asked", ["a", "b"])
async def test_callers_are_told_at_once_why_a_partition_has_stopped(asked: str) -> None:
    """By its owner and by others; the other partitions go on."""
    nodes = Nodes()
    at = nodes.place("Counter", "x")
    await nodes.log.create({at.topic: TopicSettings(partitions=nodes.partitions)})
    nodes.log.put(at, LogRecord(b"x", b"\xe5S\x01\x02"))
    async with nodes.running(**both()) as running, asyncio.timeout(5):
        for _ in range(2):
            with pytest.raises(SpawnError) as error:
                await running[asked].invoke(call("add", b"1"))
            assert error.value.code == "partition-stopped"
        others = (f"y{n}" for n in range(100))
        other = next(name for name in others if nodes.place("Counter", name) != at)
        assert (await running[asked].invoke(call("add", b"1", other))).reply == b"1"
