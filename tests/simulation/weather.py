"""What befalls a simulated system: faults drawn from a seed, a mixture of its own for each (swarm).

`Weather` is asked by whatever moves bytes; the faults of the plan set its switches for a while.

Over 400 lines: each kind of fault is a small function here, and there are many.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from eventstore.log import TopicPartition
from spawn.mesh.memory_mesh import Delivery
from tests.simulation.broker import Fate

if TYPE_CHECKING:
    from tests.simulation.loop import Process
    from tests.simulation.world import World

__all__ = ["FAULTS", "HEAL_S", "JOINED_HEAL_S", "MEMBER_FAULTS", "Weather", "plan_faults"]

HEAL_S: Final = 40.0
"""From here on nothing bad begins, and everything has ended."""
JOINED_HEAL_S: Final = 18.0
"""The same where nodes are members: they take more steps a second, and more is looked at later."""


class Weather:
    """How the log, the database and the network treat a system just now."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self.bad_appends: dict[Fate, float] = {}
        """Fate -> probability."""
        self.cut_from_log: dict[Process, str] = {}
        """Processes whose batches do not arrive (`both`, `there`), or whose answers (`back`)."""
        self.cut_ways: dict[tuple[str, str], None] = {}
        """(from, to) of nodes between which nothing goes."""
        self.lost_ways: dict[tuple[str, str], None] = {}
        """On which something was lost: a connection there goes on no more."""
        self.keeps_order: Callable[[], float] | None = None
        """The time, if frames between nodes keep their order, as TCP's do."""
        self._arrivals: dict[tuple[str, str], float] = {}
        self.slow: dict[TopicPartition, float] = {}
        self.slow_answers: dict[Process, float] = {}
        self.lossy = self.repeating = 0.0
        """Probabilities for a message between a client and a node."""
        self.far = 0.002
        """The usual way of a message, in seconds."""

    def delay(self, process: Process) -> float:
        """Return how long something is under way between a process and the log."""
        return self._dice.uniform(0.0002, 0.003)

    def answer_delay(self, process: Process) -> float:
        """Return how long the log's acknowledgement takes."""
        return self.delay(process) + self.slow_answers.get(process, 0.0)

    def slowness(self, at: TopicPartition) -> float:
        """Return how much longer the log takes for an append now."""
        return self._dice.uniform(0, self.slow[at]) if at in self.slow else 0.0

    def lateness(self) -> float:
        """Return how late a late append lands."""
        return self._dice.uniform(0.1, 6.0)

    def is_cut(self, process: Process) -> bool:
        """Tell whether a process gets nothing from the log."""
        return process in self.cut_from_log

    def fate(self, process: Process, at: TopicPartition) -> Fate:
        """Draw what becomes of an append."""
        cut = self.cut_from_log.get(process)
        if cut is not None:
            return Fate.UNACKNOWLEDGED if cut == "back" else Fate.LOST
        for fate, probability in self.bad_appends.items():
            if self._dice.random() < probability:
                return fate
        return Fate.STORED

    def frame(self, delivery: Delivery) -> Sequence[float]:
        """Draw when the copies of what goes between two nodes arrive; none: it is lost."""
        if (way := (delivery.source, delivery.target)) in self.cut_ways:
            self.lost_ways[way] = None
            return ()
        delay_s = self._dice.uniform(0.0003, 0.003)
        if self.keeps_order is not None:
            now, last = self.keeps_order(), self._arrivals.get(way, 0.0)
            arrives = self._arrivals[way] = max(now + delay_s, last + 1e-6)
            delay_s = arrives - now
        return [delay_s]

    def message(self) -> list[float]:
        """Draw when the copies of a message between client and node arrive; none: it is lost."""
        dice = self._dice
        if dice.random() < self.lossy:
            return []
        copies = 2 if dice.random() < self.repeating else 1
        return [dice.expovariate(1 / self.far) for _ in range(copies)]


Fault = Callable[["World", random.Random], Callable[[], None]]
"""Begins; returns what ends it."""


def _nothing() -> None:
    pass


def _forgetting(switches: dict[Any, Any], key: object) -> Callable[[], None]:
    def end() -> None:
        switches.pop(key, None)

    return end


def kill(world: World, dice: random.Random) -> Callable[[], None]:
    """SIGKILL of a node; it is started again."""
    name = dice.choice(world.node_names)
    world.kill(name)
    return lambda: world.start(name)


def kill_all(world: World, dice: random.Random) -> Callable[[], None]:
    """SIGKILL of every node at once."""
    for name in world.node_names:
        world.kill(name)

    def end() -> None:
        for name in world.node_names:
            world.start(name)

    return end


def freeze(world: World, dice: random.Random, name: str = "") -> Callable[[], None]:
    """SIGSTOP of a node, and CONT: it wakes up believing that it owns what it owned."""
    process = world.process_of(name or dice.choice(world.node_names))
    if process is None:
        return _nothing
    world.loop.freeze(process)
    world.note(f"froze {process}")

    def thaw() -> None:
        world.note(f"thawed {process}")
        world.loop.thaw(process)

    return thaw


def bad_append(fate: Fate, probability: float) -> Fault:
    """Make a fault that treats some appends of everybody so."""

    def begin(world: World, dice: random.Random) -> Callable[[], None]:
        world.weather.bad_appends[fate] = probability
        return _forgetting(world.weather.bad_appends, fate)

    return begin


def cut_from_log(way: str) -> Fault:
    """Make a fault that cuts a node from the log."""

    def begin(world: World, dice: random.Random) -> Callable[[], None]:
        process = world.process_of(dice.choice(world.node_names))
        if process is None:
            return _nothing
        world.weather.cut_from_log[process] = way
        return _forgetting(world.weather.cut_from_log, process)

    return begin


def cut_between(world: World, dice: random.Random) -> Callable[[], None]:
    """Two nodes do not hear each other, or one of them not the other."""
    one, other = dice.sample(world.node_names, 2)
    ways = [(one, other)] if dice.random() < 0.5 else [(one, other), (other, one)]
    world.weather.cut_ways.update(dict.fromkeys(ways))

    def end() -> None:
        lost = [world.weather.lost_ways.pop(way, 0) is None for way in ways]
        for way in ways:
            world.weather.cut_ways.pop(way, None)
        if world.is_joined and any(lost):
            world.network.reset(one, other)

    return end


def slow_log(world: World, dice: random.Random) -> Callable[[], None]:
    """A partition of the log that takes its time."""
    at = dice.choice(world.partitions)
    world.weather.slow[at] = dice.choice([0.2, 1.0, 2.5])
    return _forgetting(world.weather.slow, at)


def claim_race(world: World, dice: random.Random) -> Callable[[], None]:
    """Every node is told to own a partition."""
    at = dice.choice(world.partitions)
    world.placement.everybody(at)
    return lambda: world.placement.only(at, dice.choice(world.node_names))


def move(world: World, dice: random.Random) -> Callable[[], None]:
    """Planned moves: each partition to some node."""
    for at in world.partitions:
        world.placement.only(at, dice.choice(world.node_names))
    return _nothing


def store_down(world: World, dice: random.Random) -> Callable[[], None]:
    """The database does not answer."""
    world.store.go_down()
    return world.store.come_up


def store_put_back(world: World, dice: random.Random) -> Callable[[], None]:
    """The database is a copy of earlier."""
    world.note("store put back")
    world.put_store_back()
    return _nothing


def checkpoint_lost(world: World, dice: random.Random) -> Callable[[], None]:
    """All rows of a partition are gone, its checkpoint too."""
    world.store.lose(dice.choice(world.partitions))
    return _nothing


def clock_jump(world: World, dice: random.Random) -> Callable[[], None]:
    """The wall clock of a node is another one."""
    name = dice.choice(world.node_names)
    world.wall_offsets_us[name] = dice.choice([-3600, -20, -1, 1, 20, 1200]) * 1_000_000
    return _nothing


def bad_network(world: World, dice: random.Random) -> Callable[[], None]:
    """Messages between clients and nodes are lost, repeated, late and in another order."""
    weather = world.weather
    weather.lossy, weather.repeating = dice.choice([(0.3, 0.0), (0.0, 0.5), (0.2, 0.3)])
    weather.far = dice.choice([0.002, 0.2, 1.0])

    def end() -> None:
        weather.lossy, weather.repeating, weather.far = 0.0, 0.0, 0.002

    return end


def old_end(world: World, dice: random.Random) -> Callable[[], None]:
    """A deposed leader of the log, thawed, tells the end of earlier."""
    at = dice.choice(world.partitions)
    world.broker.old_ends[at] = len(world.broker.records[at])
    return _forgetting(world.broker.old_ends, at)


def zombie(world: World, dice: random.Random) -> Callable[[], None]:
    """A node freezes, others get what it owned, and it wakes up among them."""
    name = dice.choice(world.node_names)
    thaw = freeze(world, dice, name)
    for at in world.partitions:
        if name in world.placement.owners[at]:
            world.placement.only(at, dice.choice([n for n in world.node_names if n != name]))
    return thaw


def slow_answers(world: World, dice: random.Random) -> Callable[[], None]:
    """A node gets the log's acknowledgements late, and others are told to own what it owns."""
    name = dice.choice(world.node_names)
    process = world.process_of(name)
    if process is None:
        return _nothing
    world.weather.slow_answers[process] = dice.uniform(0.2, 1.5)
    for at in world.partitions:
        if name in world.placement.owners[at] and dice.random() < 0.7:
            other = dice.choice(world.node_names)
            world.later(dice.uniform(0.0, 1.0), partial(world.placement.also, at, other))
    return _forgetting(world.weather.slow_answers, process)


def truncation(world: World, dice: random.Random) -> Callable[[], None]:
    """An unclean election: the log gives back less than it acknowledged (log protocol 11)."""
    world.broker.truncate(dice.choice(world.partitions), dice.randint(1, 6))
    return _nothing


def stop(world: World, dice: random.Random) -> Callable[[], None]:
    """A planned stop of a node, and a start with a new id."""
    name = dice.choice(world.node_names)
    assert world.members is not None
    world.members.stop(name)
    return lambda: world.start(name)


def group_away(world: World, dice: random.Random) -> Callable[[], None]:
    """The group's coordinator answers nobody; at times it has forgotten all when it is back."""
    assert world.members is not None
    groups = world.members.groups
    groups.is_down = True

    def end() -> None:
        groups.is_down = False
        if dice.random() < 0.3:
            for member_id in groups.names():
                groups.expel(member_id)

    return end


def expelled(world: World, dice: random.Random) -> Callable[[], None]:
    """A member's session runs out, though it lives."""
    assert world.members is not None
    if names := world.members.groups.names():
        world.members.groups.expel(dice.choice(names))
    return _nothing


def slow_group(world: World, dice: random.Random) -> Callable[[], None]:
    """Each answer of the coordinator takes its time, so a rebalance does."""
    assert world.members is not None
    groups = world.members.groups
    groups.slow_s = dice.choice([0.3, 1.0, 3.0])

    def end() -> None:
        groups.slow_s = 0.0

    return end


def misassigned(world: World, dice: random.Random) -> Callable[[], None]:
    """Some nodes act by an assignment that the group did not make, or made long ago."""
    assert world.members is not None
    members = world.members
    names = dice.sample(world.node_names, dice.randint(1, len(world.node_names)))
    for name in names:
        members.misassign(name, dice)

    def end() -> None:
        for name in names:
            members.rejoin(name)

    return end


def alone(world: World, dice: random.Random) -> Callable[[], None]:
    """A node and all others do not hear each other; all reach the log."""
    name = dice.choice(world.node_names)
    others = [other for other in world.node_names if other != name]
    ways = [way for other in others for way in ((name, other), (other, name))]
    world.weather.cut_ways.update(dict.fromkeys(ways))

    def end() -> None:
        for way in ways:
            world.weather.cut_ways.pop(way, None)
            world.weather.lost_ways.pop(way, None)
        for other in others:
            world.network.reset(name, other)

    return end


MEMBER_FAULTS: Final[dict[str, tuple[Fault, tuple[float, float]]]] = {
    "stop": (stop, (0.1, 4.0)),
    "group away": (group_away, (0.5, 10.0)),
    "expelled": (expelled, (0.1, 0.2)),
    "slow group": (slow_group, (1.0, 8.0)),
    "misassigned": (misassigned, (0.5, 6.0)),
    "alone": (alone, (0.3, 6.0)),
    "zombie": (freeze, (0.6, 4.0)),
}
"""As `FAULTS`, of nodes that are members of a cluster."""


FAULTS: Final[dict[str, tuple[Fault, tuple[float, float]]]] = {
    "kill": (kill, (0.1, 4.0)),
    "kill all": (kill_all, (0.1, 2.0)),
    "freeze": (freeze, (0.1, 8.0)),
    "zombie": (zombie, (0.3, 3.0)),
    "slow answers": (slow_answers, (0.5, 4.0)),
    "append lost": (bad_append(Fate.LOST, 0.3), (0.5, 5.0)),
    "append unacknowledged": (bad_append(Fate.UNACKNOWLEDGED, 0.3), (0.5, 5.0)),
    "append late": (bad_append(Fate.LATE, 0.3), (0.5, 5.0)),
    "append twice": (bad_append(Fate.TWICE, 0.5), (0.5, 5.0)),
    "cut from log": (cut_from_log("both"), (0.2, 6.0)),
    "cut from log, answers only": (cut_from_log("back"), (0.2, 6.0)),
    "cut between nodes": (cut_between, (0.3, 6.0)),
    "slow log": (slow_log, (1.0, 8.0)),
    "claim race": (claim_race, (0.3, 6.0)),
    "move": (move, (0.1, 0.2)),
    "store down": (store_down, (0.5, 8.0)),
    "store put back": (store_put_back, (0.1, 0.2)),
    "checkpoint lost": (checkpoint_lost, (0.1, 0.2)),
    "clock jump": (clock_jump, (0.1, 0.2)),
    "bad network": (bad_network, (1.0, 10.0)),
    "old end": (old_end, (0.5, 4.0)),
    "truncation": (truncation, (0.1, 0.2)),
}
"""Name -> what begins it, and how long it lasts (virtual seconds, from, to)."""


_SHARP: Final = (
    *("zombie", "slow answers", "slow log", "claim race", "move", "freeze"),
    *("append lost", "append unacknowledged"),
)
"""What shows mistakes about leases."""


_ALL: Final = tuple(name for name in FAULTS if name != "truncation")
_DECREED: Final = ("zombie", "slow answers", "claim race", "move")
"""What the world's decrees do."""
_JOINED: Final = (*(name for name in _ALL if name not in _DECREED), *MEMBER_FAULTS)
_JOINED_SHARP: Final = (
    *("zombie", "slow log", "misassigned", "stop", "freeze", "kill", "alone", "cut between nodes"),
    *("cut from log", "append lost", "append unacknowledged"),
)


def plan_faults(
    dice: random.Random, heal_s: float, *, sharp: bool, loses: bool, joined: bool
) -> list[tuple[float, str, float]]:
    """Draw (start, name, duration): a few kinds for each seed, so that each is met thickly."""
    all_kinds = (_JOINED_SHARP if sharp else _JOINED) if joined else (_SHARP if sharp else _ALL)
    kinds = dice.sample(all_kinds, dice.randint(2, 5 if sharp else 6))
    plan = []
    if loses:
        plan.append((dice.uniform(5.0, heal_s * 0.75), "truncation", 0.1))
    for _ in range(dice.randint(12, 30) if sharp else dice.randint(5, 14)):
        name = dice.choice(kinds)
        table = MEMBER_FAULTS if joined and name in MEMBER_FAULTS else FAULTS
        shortest, longest = table[name][1]
        start = dice.uniform(1.0, heal_s - 2)
        plan.append((start, name, min(dice.uniform(shortest, longest), heal_s - start)))
    return sorted(plan)
