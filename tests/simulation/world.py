"""A simulated system: nodes of production code, a log, a database, clients, and what befalls them.

    python -m tests.simulation --seed 7

Everything follows from the seed. Nodes are the runtime and the core of production over ports that
this package implements; nothing in them knows that time is virtual.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from eventstore.log import TopicPartition
from eventstore.memory_snapshots import MemoryCopy, MemorySnapshots
from spawn.core.behavior import TypeSettings
from spawn.core.ids import partition_of
from spawn.errors import SpawnError
from spawn.mesh.memory_mesh import MemoryNetwork
from spawn.mesh.wire import LEAST_VERSION, VERSION, Hello
from spawn.routing.router import Router
from spawn.runtime.context import RuntimeSettings
from spawn.runtime.dispatcher import NodeDispatcher
from spawn.runtime.node import Node, NodePlan
from tests.simulation import checks
from tests.simulation.broker import Broker, NodeLog
from tests.simulation.clients import Client
from tests.simulation.loop import Process, SimLoop
from tests.simulation.members import Members
from tests.simulation.node_ports import NoCollector, NodeClock, NodeStore, SimPlacement
from tests.simulation.weather import (
    FAULTS,
    HEAL_S,
    JOINED_HEAL_S,
    MEMBER_FAULTS,
    Weather,
    plan_faults,
)
from tests.unit.core.harness import Lists

__all__ = ["Report", "World", "run_seed"]

_SYSTEM: Final = "sim"
_TOPIC: Final = "spawn.sim.List"
_START_US: Final = 1_750_000_000_000_000
_HEALED_S: Final = 8.0
"""How long clients go on after all faults ended."""
_LAST_S: Final = 21.0
"""How long the last operations may take."""
_LOOK_S: Final = 2.0


@dataclass(slots=True)
class Report:
    """What became of one seed."""

    seed: int
    wrong: list[str]
    trace: str
    """A digest of all that happened."""
    operations: int
    told: int
    faults: list[str]
    steps: int
    coverage: dict[str, int] = field(default_factory=dict)
    losses: dict[str, int] = field(default_factory=dict)
    """Truncated partitions: `harmless`, `stopped`, `missed`."""
    unowned_s: float | None = None
    """Of nodes that are members: the longest time that a partition had no owner after healing."""
    failover_s: float | None = None
    """How long the partitions of a node that was killed at last were unowned."""
    pause_s: float | None = None
    """The longest call while a node was stopped and started as planned."""


class World:
    """All of it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.dice = dice = random.Random(seed)
        self.loop = SimLoop(random.Random(dice.random()))
        self.weather = Weather(random.Random(dice.random()))
        self.is_joined = seed % 2 == 0
        """Nodes are members of a cluster; in the other seeds the world says who owns what."""
        nodes = dice.choice([3, 3, 3, 4, 5]) if self.is_joined else dice.randint(3, 5)
        self.node_names = [f"n{number}" for number in range(nodes)]
        self.partitions = [TopicPartition(_TOPIC, number) for number in range(4)]
        self.is_sharp = dice.random() < 0.22
        """Many reads and owners that change often: what shows mistakes about leases."""
        self.loses = dice.random() < 0.06
        """The log will lose what it acknowledged: the partition must stop."""
        self.actors = [f"a{number}" for number in range(dice.choice([4, 8, 16]))]
        if self.is_joined:
            self.weather.keeps_order = lambda: self.loop.now
        self.heal_s = JOINED_HEAL_S if self.is_joined else HEAL_S
        self.mix = dice.choice([(70, 15, 8, 7), (30, 60, 5, 5), (50, 40, 5, 5)])
        self.pause_s = dice.choice([0.3, 0.8])
        self.operations = 200
        if self.is_sharp:
            self.mix, self.pause_s, self.operations = (30, 66, 2, 2), 0.12, 650
        if self.is_joined:
            self.operations = self.operations * 4 // 5
        self.type_settings = TypeSettings(
            idle_timeout_s=dice.choice([2, 5, 600]),
            history_interval=4,
            strict_reads=dice.random() < 0.2,
        )
        self.members = Members(self, _TOPIC, len(self.partitions)) if self.is_joined else None
        own = [] if self.members is None else [self.members.roll]
        self.broker = Broker(self, [*self.partitions, *own])
        self.store = MemorySnapshots()
        self._copies: list[MemoryCopy] = []
        self.network = MemoryNetwork(self.later, lambda: self.loop.now, self.weather.frame)
        self.network.run_at = self._run_at
        self.placement = SimPlacement(self.node_names, self.partitions)
        self.wall_offsets_us: dict[str, int] = {}
        self.rates = {name: dice.choice([1.0, 1.0, 0.96, 1.04]) for name in self.node_names}
        self.nodes: dict[str, tuple[Process, Node]] = {}
        self.clients: list[Client] = []
        self.wrongs: list[str] = []
        self.stopped: list[str] = []
        """What nodes said of partitions that stopped."""
        self.trace = hashlib.blake2b(digest_size=8)
        self.shown: Callable[[str], None] | None = None
        self.coverage: dict[str, int] = {}
        self.losses: dict[str, int] = {}
        self.is_closing = False
        """Clients begin nothing more."""
        self._number = 0
        self._starts = 0
        self._graves: list[Process] = []

    # --- what happened ---------------------------------------------------------------------------

    def note(self, text: str) -> None:
        """Keep what happened, for the trace."""
        line = f"{self.loop.now:.6f} {text}"
        self.trace.update(line.encode() + b"\n")
        if self.shown is not None:
            self.shown(line)

    def wrong(self, text: str) -> None:
        """A promise was broken."""
        self.wrongs.append(text)
        self.note(f"WRONG: {text}")

    def next_number(self) -> int:
        """Return a number that no other operation has."""
        self._number += 1
        return self._number

    def later(self, delay: float, work: Callable[[], Any]) -> None:
        """Do something in world time, whoever lives then."""
        self.loop.world_later(delay, work)

    def wall_us(self, name: str) -> int:
        """Return what the wall clock of a process says."""
        return _START_US + int(self.loop.now * 1e6) + self.wall_offsets_us.get(name, 0)

    # --- nodes -----------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        """Start a node's process, unless it runs."""
        if name in self.nodes:
            return
        self._starts += 1
        process = Process(f"{name}.{self._starts}", self.rates[name])
        dice = random.Random(self.dice.random())
        log, store = NodeLog(self, process), NodeStore(self, process)
        routers: list[Router] = []

        def route(dispatcher: NodeDispatcher) -> Router:
            time_us, new_id = partial(self.wall_us, name), lambda: dice.randbytes(16)
            routers.append(Router(dispatcher, self.loop.time, dice.random, time_us, new_id))
            return routers[0]

        with self.loop.inside(process):
            node = Node(
                NodePlan(
                    system=_SYSTEM,
                    endpoint=name,
                    behaviors=[Lists(self.type_settings)],
                    topics={_TOPIC: len(self.partitions)},
                    log=log,
                    store=store,
                    settings=RuntimeSettings(
                        flush_interval_s=dice.choice([0.5, 2.0, 5.0]), sweep_s=0.1
                    ),
                    body_bytes_max=1024,
                    say=partial(self._said, process),
                    clock=NodeClock(self, process, name),
                    new_id=lambda: dice.randbytes(16),
                    # What user code takes in real time decides where it runs: no matter here.
                    stopwatch=float,
                    collector=NoCollector(),
                    route=route,
                )
            )
            router, owner = routers[0], node.context.owner
            hello = Hello(VERSION, LEAST_VERSION, _SYSTEM, owner.hex(), name, "sim")
            router.use(self.network.join(hello, router.peers))
            if self.members is None:
                router.hint = lambda at: min(self.placement.owners[at])
            else:
                self.members.join(name, process, node, router, log, store)
        self.nodes[name] = process, node
        self.note(f"started {process}")
        run = self._run_node if self.members is None else self.members.run
        self.loop.start(process, run(name, process, node))

    def _run_at(self, endpoint: str, work: Callable[[], None]) -> None:
        found = self.nodes.get(endpoint)
        if found is None:
            work()
        else:
            self.loop.soon_inside(found[0], work)

    def owner(self, at: TopicPartition) -> str:
        """Return the node that should serve a partition, or does."""
        if self.members is None:
            return min(self.placement.owners[at])
        return self.members.server(at) or self.node_names[0]

    async def _run_node(self, name: str, process: Process, node: Node) -> None:
        try:
            async with node.running(self.placement.of(name)):
                await asyncio.Event().wait()
        except SpawnError as error:
            self.wrong(f"{process} ended: {error!r}")
        except Exception as error:  # noqa: BLE001 - a node never ends by itself
            self.wrong(f"{process} ended: {error!r}")

    def _said(self, process: Process, text: str) -> None:
        self.note(f"{process}: {text}")
        if text.startswith("error: "):
            self.stopped.append(text)

    def kill(self, name: str) -> None:
        """Kill a node's process, if it runs."""
        if (found := self.nodes.pop(name, None)) is not None:
            self.loop.kill(found[0])
            self.network.kill(name)
            self._graves.append(found[0])
            self.note(f"killed {found[0]}")

    def left(self, name: str, process: Process) -> None:
        """A node takes no calls any more: it is about to end as planned."""
        if self.process_of(name) is process:
            del self.nodes[name]

    def ended(self, name: str, process: Process) -> None:
        """A node's process has ended by itself."""
        self.left(name, process)
        if name not in self.nodes and not process.is_dead:
            self.network.kill(name)
        self.note(f"ended {process}")

    def process_of(self, name: str) -> Process | None:
        """Return the process that runs as a node now."""
        found = self.nodes.get(name)
        return None if found is None else found[0]

    def dispatcher_of(self, name: str) -> NodeDispatcher | None:
        """Return a running node's way in."""
        found = self.nodes.get(name)
        return None if found is None else found[1].dispatcher

    def partition_of(self, actor: str) -> TopicPartition:
        """Return where an actor lives."""
        return self.partitions[partition_of(actor.encode(), len(self.partitions))]

    def guess(self, at: TopicPartition, dice: random.Random) -> str:
        """Return a node to ask: at times one that should own the partition."""
        if dice.random() < 0.3:
            if self.members is None:
                return dice.choice(sorted(self.placement.owners[at]))
            for name, (_, node) in self.nodes.items():
                if node.dispatcher.serves(at):
                    return name
        return dice.choice(self.node_names)

    def put_store_back(self) -> None:
        """Let the database be an older copy of itself."""
        if self._copies:
            self.store.put_back(self.dice.choice(self._copies))

    # --- life ------------------------------------------------------------------------------------

    async def live(self) -> None:
        """Let everything happen, heal, and be looked at."""
        dice = random.Random(self.dice.random())
        faults = plan_faults(
            dice, self.heal_s, sharp=self.is_sharp, loses=self.loses, joined=self.is_joined
        )
        for start, name, duration in faults:
            self.later(start, partial(self._befall, name, duration))
        for name in self.node_names:
            self.start(name)
        count = 12 if self.is_sharp else 5
        for number in range(count):
            process = Process(f"c{number}", self.dice.choice([1.0, 0.97]))
            client = Client(self, f"c{number}", process, random.Random(self.dice.random()))
            self.clients.append(client)
        running = [
            self.loop.start(client._process, client.run(self.operations // count))
            for client in self.clients
        ]
        while self.loop.now < self.heal_s:
            await asyncio.sleep(_LOOK_S)
            self._copies = [*self._copies[-5:], self.store.copy()]
            self.wrongs += checks.owners_know_the_fold(self)
        self._heal()
        if self.members is None:
            await asyncio.sleep(_HEALED_S)
        else:
            await self.members.settle()
        self.is_closing = True
        await asyncio.wait(running, timeout=_LAST_S)
        if not all(task.done() for task in running):
            self.wrong("a client still waits long after all faults ended")
        for task in running:
            if task.done() and task.exception() is not None:
                self.wrong(f"a client failed: {task.exception()!r}")
        if self.members is not None:
            members = self.members
            await dice.choice([members.try_kill, members.try_move, members.try_cut])()
        await checks.sweep(self)
        self.wrongs += checks.everything(self)

    def _befall(self, name: str, duration: float) -> None:
        self.coverage[name] = self.coverage.get(name, 0) + 1
        self.note(f"fault {name} for {duration:.3f}")
        kinds = MEMBER_FAULTS if self.is_joined and name in MEMBER_FAULTS else FAULTS
        end = kinds[name][0](self, self.dice)
        self.later(duration, end)

    def _heal(self) -> None:
        """End every fault; each partition has one wanted owner."""
        self.note("healed")
        self.pause_s = 0.1
        self.weather.bad_appends.clear()
        self.weather.cut_from_log.clear()
        self.weather.slow.clear()
        self.weather.cut_ways.clear()
        self.weather.slow_answers.clear()
        self.broker.old_ends.clear()
        self.store.come_up()
        if self.members is not None:
            self.members.groups.is_down, self.members.groups.slow_s = False, 0.0
        for process, _ in self.nodes.values():
            if process.is_frozen:
                self.loop.thaw(process)
        for name in self.node_names:
            self.start(name)
        for at in self.partitions:
            self.placement.only(at, self.dice.choice(sorted(self.placement.owners[at])))


def _ignored(_unraisable: object) -> None:
    """What killed processes left ends at some time, and may not like it."""


def run_seed(seed: int, shown: Callable[[str], None] | None = None) -> Report:
    """Run one seed to its end."""
    world = World(seed)
    world.shown = shown
    sys.unraisablehook = _ignored
    asyncio.set_event_loop(None)
    try:
        world.loop.run_until_complete(world.live())
    except RuntimeError as error:
        world.wrong(f"the simulation stopped: {error}")
    world.wrongs += [f"nobody took: {failure}" for failure in world.loop.failures]
    members = world.members
    done = [each for client in world.clients for each in client.operations]
    return Report(
        seed,
        world.wrongs,
        world.trace.hexdigest(),
        len(done),
        sum(each.outcome in ("done", "rejected") for each in done),
        sorted(world.coverage),
        world.loop.steps,
        dict(world.coverage),
        dict(world.losses),
        *((members.unowned_s, members.failover_s, members.pause_s) if members else ()),
    )
