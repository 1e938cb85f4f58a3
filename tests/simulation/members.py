"""Nodes that decide among themselves who owns what, as in production: `Membership` in a world.

What is checked besides all else: after everything healed each partition is served by exactly one
node, soon, and nobody claims any more; a node that dies is replaced within two seconds; a planned
stop or start fails no call.
"""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from eventstore.errors import LogError
from eventstore.log import TopicPartition
from spawn.cluster.members import Member
from spawn.core.commands import Command
from spawn.core.ids import nodes_topic
from spawn.errors import ForeignLog, SpawnError
from spawn.membership.membership import Membership, MembershipPlan
from spawn.membership.roll import Roll
from spawn.mesh.wire import LEAST_VERSION, VERSION
from spawn.runtime.tasks import first_error
from tests.simulation.groups import TimedGroups
from tests.simulation.reference import Reference

if TYPE_CHECKING:
    from spawn.routing.router import Router
    from spawn.runtime.node import Node
    from tests.simulation.broker import NodeLog
    from tests.simulation.loop import Process
    from tests.simulation.node_ports import NodeStore
    from tests.simulation.world import World

__all__ = ["Members"]

_GROUP: Final = "spawn.sim"
_GRACE_S: Final = 10.0
_AGAIN_S: Final = 1.0
"""A process that ends since the log did not let it start is started again after so long."""
_LOOK_S: Final = 0.05
_UNOWNED_MAX_S: Final = 6.0
"""After all faults ended: what an append's and a read's time-out still cost, and a start."""
_MOVES_S: Final = 12.0
"""After so long everybody has joined the group again, and the longest hold is over."""
_QUIET_S: Final = 3.0
_FAILOVER_S: Final = 2.0
_UNFIT_S: Final = 3.5
"""Two life signs that do not come, and the others' claims."""
_STOP_S: Final = 2.0
_PAUSE_S: Final = 0.25
"""Less than a new owner waits where nothing was released."""
_DUEL_S: Final = 5.0
_DUEL_CLAIMS: Final = 16
"""So many changes of owners within `_DUEL_S` are no move and no failover, but a fight."""
_CALL_S: Final = 2.0


class Members:
    """What these nodes share, and what is looked at."""

    def __init__(self, world: World, topic: str, partitions: int) -> None:
        self._world = world
        self._topics = {topic: partitions}
        self.roll = TopicPartition(nodes_topic("sim"), 0)
        self.groups = TimedGroups(_GROUP, lambda: world.loop.now, world.later)
        self.groups.watch()
        self.of: dict[str, Membership] = {}
        self._stops: dict[Process, asyncio.Event] = {}
        self._ended: list[Process] = []
        self._folds: dict[TopicPartition, tuple[Reference, int]] = {}
        self.unowned_s = 0.0
        """The longest time that a partition had no owner after all faults ended."""
        self.failover_s: float | None = None
        self.pause_s: float | None = None
        """The longest call of a planned stop or start."""

    # --- nodes -----------------------------------------------------------------------------------

    def join(
        self,
        name: str,
        process: Process,
        node: Node,
        router: Router,
        log: NodeLog,
        store: NodeStore,
    ) -> None:
        """Make a node a member; called inside its process."""
        world = self._world
        self._stops[process] = asyncio.Event()
        self.of[name] = Membership(
            MembershipPlan(
                me=Member(
                    node_id=node.context.owner,
                    mesh=name,
                    http="",
                    release="sim",
                    protocol=VERSION,
                    protocol_min=LEAST_VERSION,
                    topics=self._topics,
                ),
                router=router,
                roll=Roll(log, "sim"),
                group=partial(self.groups.member, _GROUP),
                probes={"the log": lambda: log.bounds(self.roll), "the database": store.ping},
                serves=node.dispatcher.serves,
                now=world.loop.time,
                time_ms=lambda: world.wall_us(name) // 1000,
            )
        )

    async def run(self, name: str, process: Process, node: Node) -> None:
        """Let a node live until it is told to stop; then stop it as `spawn run` does."""
        world, membership, loop = self._world, self.of[name], self._world.loop
        try:
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(membership.run())
                async with node.running(membership):
                    await self._stops[process].wait()
                    deadline = loop.time() + _GRACE_S
                    await membership.hand_over(deadline - _GRACE_S / 2)
                    world.left(name, process)
                    async with asyncio.TaskGroup() as last:
                        last.create_task(membership.leave(deadline))
                        last.create_task(node.drain(_GRACE_S))
                        last.create_task(self._finish(node, deadline))
                running.cancel()
        except BaseExceptionGroup as group:
            error = first_error(group)
            # It rightly refuses a log that lost records.
            is_refusal = isinstance(error, ForeignLog) and world.broker.truncated
            if not isinstance(error, LogError) and not is_refusal:
                world.wrong(f"{process} ended: {error!r}")
            world.note(f"{process} ended: {error!r}")
            if not world.is_closing:
                world.later(_AGAIN_S, partial(world.start, name))
        self._ended.append(process)
        world.ended(name, process)

    async def _finish(self, node: Node, deadline: float) -> None:
        """Wait for calls under way, as the HTTP server does."""
        while len(node.context.outstanding) and self._world.loop.time() < deadline:
            await asyncio.sleep(0.01)

    def stop(self, name: str) -> None:
        """Stop a node as planned, if it runs."""
        process = self._world.process_of(name)
        if process is not None:
            self._world.note(f"stops {process}")
            self._world.loop.soon_inside(process, self._stops[process].set)

    def misassign(self, name: str, dice: random.Random) -> None:
        """Let a node believe that the group gave it other partitions."""
        process = self._world.process_of(name)
        if process is not None:
            places = [at for at in self._world.partitions if dice.random() < 0.5]
            self._world.loop.soon_inside(process, partial(self.of[name]._assigned, places))

    def rejoin(self, name: str) -> None:
        """Let a node ask the group again."""
        process = self._world.process_of(name)
        if process is not None:
            self._world.loop.soon_inside(process, self.of[name]._group.rejoin)

    # --- who serves ------------------------------------------------------------------------------

    def server(self, at: TopicPartition) -> str:
        """Return the node that serves a partition under the log's current claim; empty: nobody."""
        claim = self._claim(at)
        for name, (process, node) in self._world.nodes.items():
            if process.is_frozen:
                continue
            for worker in node._workers:
                if worker.at == at and worker.active.is_set() and worker.machine.mine == claim:
                    return name
        return ""

    def believers(self, at: TopicPartition) -> list[str]:
        """Return the nodes that believe they serve a partition, or want to."""
        return [name for name in self._world.nodes if self.of[name].wants(at)]

    def _claim(self, at: TopicPartition) -> bytes:
        fold, position = self._folds.get(at) or (Reference(), 0)
        records = self._world.broker.records[at]
        for stored in records[position:]:
            fold.fold(stored)
        self._folds[at] = fold, len(records)
        return fold.claim

    def _whole(self) -> list[TopicPartition]:
        return [at for at in self._world.partitions if at not in self._world.broker.truncated]

    def _poke(self) -> None:
        """Let owners append something, as calls make them do."""
        for process, node in self._world.nodes.values():
            for worker in node._workers:
                self._world.loop.soon_inside(process, worker.look)

    async def _watch(self, seconds: float) -> dict[TopicPartition, float]:
        """Look for a while; return the longest time that each partition was unowned."""
        world = self._world
        longest = dict.fromkeys(self._whole(), 0.0)
        since: dict[TopicPartition, float] = {}
        end, looks = world.loop.now + seconds, 0
        while world.loop.now < end:
            looks += 1
            if looks % 10 == 0:
                self._poke()
            for at in longest:
                if self.server(at):
                    since.pop(at, None)
                else:
                    began = since.setdefault(at, world.loop.now)
                    longest[at] = max(longest[at], world.loop.now - began)
            await asyncio.sleep(_LOOK_S)
        return longest

    def fights(self) -> list[str]:
        """Tell where ownership changed too often."""
        wrong = []
        for at in self._whole():
            changes, last = list[float](), b""
            for when, where, owner in self._world.broker.claims:
                if where == at and owner != last:
                    changes.append(when)
                    last = owner
            for first, tenth in zip(changes, changes[_DUEL_CLAIMS:], strict=False):
                if tenth - first < _DUEL_S:
                    wrong.append(f"{at} had {_DUEL_CLAIMS} new owners from {first:.1f} s on")
                    break
        return wrong

    # --- after all faults ended ------------------------------------------------------------------

    async def settle(self) -> None:
        """Check that each partition gets its one owner, and that duels end."""
        world = self._world
        for at, unowned_s in (await self._watch(_MOVES_S)).items():
            self.unowned_s = max(self.unowned_s, unowned_s)
            if unowned_s > _UNOWNED_MAX_S:
                world.wrong(f"{at} had no owner for {unowned_s:.1f} s after all faults ended")
        claims = len(world.broker.claims)
        await self._watch(_QUIET_S)
        world.wrongs += self.fights()
        for when, at, _ in world.broker.claims[claims:]:
            if at not in world.broker.truncated:
                world.wrong(f"{at} was claimed at {when:.1f}, long after all faults ended")
        for at in self._whole():
            if len(believers := self.believers(at)) != 1:
                world.wrong(f"{at} is wanted by {believers} long after all faults ended")

    async def try_kill(self) -> None:
        """Kill a node among links that live, and measure how long its partitions are unowned."""
        world = self._world
        name = world.dice.choice(sorted(world.nodes))
        world.kill(name)
        self.failover_s = max((await self._watch(3.0)).values(), default=0.0)
        if self.failover_s > _FAILOVER_S:
            world.wrong(f"{name} was replaced only after {self.failover_s:.1f} s")
        world.start(name)

    async def try_cut(self) -> None:
        """Cut a node from the log alone: others have to serve in its place."""
        world = self._world
        name = world.dice.choice(sorted(world.nodes))
        process = world.process_of(name)
        assert process is not None
        world.weather.cut_from_log[process] = "both"
        await asyncio.sleep(_UNFIT_S)
        for at in self._whole():
            if self.server(at) in ("", name):
                world.wrong(f"nobody serves {at} in the place of {name}, which misses the log")
        del world.weather.cut_from_log[process]
        await asyncio.sleep(_STOP_S)

    async def try_move(self) -> None:
        """Stop and start a node without other faults: every call is answered, and soon."""
        world, dice = self._world, self._world.dice
        name = dice.choice(sorted(world.nodes))
        calling = asyncio.ensure_future(self._call_all(6.0))
        await asyncio.sleep(0.5)
        process = world.process_of(name)
        assert process is not None
        self.stop(name)
        await asyncio.sleep(_STOP_S)
        if process not in self._ended:
            world.wrong(f"{process} did not end within {_STOP_S:g} s after it was told to stop")
        await asyncio.sleep(0.5)
        world.start(name)
        self.pause_s = await calling
        if self.pause_s > _PAUSE_S:
            world.wrong(f"a call took {self.pause_s:.2f} s while a node stopped and started")
        for at, unowned_s in (await self._watch(0.5)).items():
            if unowned_s:
                world.wrong(f"{at} is unowned after a planned stop and start")

    async def _call_all(self, seconds: float) -> float:
        """Call now and then, at any node that takes calls; return the longest time."""
        world, calls = self._world, list[asyncio.Future[float]]()
        end = world.loop.now + seconds
        while world.loop.now < end:
            await asyncio.sleep(0.05)
            name = world.dice.choice(sorted(world.nodes))
            calls.append(asyncio.ensure_future(self._call(name, world.dice.choice(world.actors))))
        took = [await call for call in calls]
        return max(took)

    async def _call(self, name: str, actor: str) -> float:
        world = self._world
        if world.partition_of(actor) in world.broker.truncated:
            return 0.0
        process, node = world.nodes[name]
        began = world.loop.now
        answer: asyncio.Future[Any] = world.loop.create_future()

        def submit() -> None:
            dispatcher = node.dispatcher
            waiter = dispatcher.new_waiter()
            deadline = dispatcher.now() + _CALL_S * process.rate
            waiter.add_done_callback(lambda future: answer.set_result(future.exception()))
            name_ = actor.encode()
            dispatcher.submit(Command("List", name_, "all", b"", b"", deadline, waiter, False))

        world.loop.soon_inside(process, submit)
        async with asyncio.timeout(2 * _CALL_S):
            error = await answer
        if error is not None:
            kind = error.code if isinstance(error, SpawnError) else repr(error)
            world.wrong(f"a call at {name} failed in a planned move: {kind}: {error}")
        return world.loop.now - began
