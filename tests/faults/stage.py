"""Where a case plays: nodes under load, faults with their times, and what is expected meanwhile."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from tests.faults.audit import Audit, read_log
from tests.faults.cluster import Cluster, Node, NotInTime
from tests.faults.driver import Load, actors_by_partition
from tests.faults.figures import Measure, Watch
from tests.faults.history import Attempt
from tests.faults.last_reads import read_actors
from tests.faults.load import Orders
from tests.faults.servers import Servers

__all__ = ["Options", "Played", "Stage"]

KEY_GAP_S: Final = 2.5
"""Callers that spread over all nodes with a time-out of 1 s: no key is unserved for longer."""
_LEAD_S: Final = 0.1
"""A span begins so long before its fault: what was under way is part of it."""
_CALM_S: Final = 1.0
_WARM_UP_S: Final = 30.0
_HEALED_S: Final = 30.0
_ACTORS_EACH: Final = 4


class Options(NamedTuple):
    """How all cases are played."""

    nodes: int = 3
    rate: float = 500.0
    partitions: int = 16
    timeout_s: float = 1.0
    runs: int = 0
    """Repetitions of a case's fault; 0: the case's own number."""
    seed: int = 1
    is_short: bool = False
    plant: str = ""
    """A bug of the simulation's list, which the runs should find."""


class Played(NamedTuple):
    """What a case left behind."""

    began: float
    """The span in which figures count: warmed up, up to the end of the load."""
    ended: float
    attempts: Sequence[Attempt]
    audit: Audit
    watches: Sequence[Watch]
    faults: Sequence[tuple[float, str]]
    problems: Sequence[str]


class Stage:
    """A cluster of its own under load; the case is handed it once everything is calm."""

    def __init__(self, servers: Servers, folder: Path, options: Options, system: str) -> None:
        self.servers = servers
        self.options = options
        self.dice = random.Random(options.seed)
        self.folder = folder
        self.cluster = Cluster(servers, folder, system, options.partitions)
        self.cluster.plant = options.plant
        self.actors = actors_by_partition(options.partitions, _ACTORS_EACH)
        self.load = Load(
            Orders(
                nodes={},
                rate=options.rate,
                seed=options.seed,
                timeout_s=options.timeout_s,
                actors=self.actors,
                history=str(folder / "history"),
            )
        )
        self.watches: list[Watch] = []
        self.faults: list[tuple[float, str]] = []
        self._began = 0.0

    # --- what a case uses ---

    def repeat(self, runs: int, short: int = 1) -> range:
        """Return how often a fault is repeated; what was asked for goes before the case's own."""
        return range(self.options.runs or (short if self.options.is_short else runs))

    def fault(self, text: str) -> float:
        """Note a fault that begins, or ends, now."""
        now = time.monotonic()
        self.faults.append((now, text))
        return now

    def watch(
        self,
        name: str,
        measure: Measure,
        began: float,
        limit: float | None,
        partitions: Collection[int] | None = None,
        *,
        lead_s: float = _LEAD_S,
    ) -> None:
        """Expect something of the time from `began` until now."""
        self.watches.append(
            Watch(
                name=name,
                measure=measure,
                began=began - lead_s,
                ended=time.monotonic(),
                limit=limit,
                partitions=partitions,
            )
        )

    def any_node(self) -> Node:
        """Return a running node, by the dice."""
        return self.dice.choice(self.cluster.running)

    def others(self, node: Node) -> list[Node]:
        """Return the other running nodes."""
        return [each for each in self.cluster.running if each is not node]

    async def shares(self) -> tuple[Node, frozenset[int], frozenset[int]]:
        """Wait for calm, and return a node with the partitions that it has, and all the others."""
        found = await self.cluster.balanced(_HEALED_S)
        await self.calm()
        found = await self.cluster.balanced(_HEALED_S)
        node = self.any_node()
        own = frozenset(place for place, name in found.items() if name == node.name)
        return node, own, frozenset(found) - own

    async def serves_again(self, since: float, partitions: Collection[int] = ()) -> None:
        """Wait until these partitions have had a success. Raises: NotInTime."""
        try:
            await self.load.succeeds(since, _HEALED_S, sorted(partitions))
        except TimeoutError:
            last = self.load.progress.last_success
            late = [place for place in range(len(last)) if last[place] <= since]
            raise NotInTime(f"no success within {_HEALED_S:g} s at partitions {late}") from None

    async def calm(self, for_s: float = _CALM_S) -> None:
        """Wait until nothing fails any more. Raises: NotInTime."""
        try:
            await self.load.is_calm(for_s, _HEALED_S)
        except TimeoutError:
            raise NotInTime(f"operations still fail {_HEALED_S:g} s later") from None
        self.cluster.require_running()

    # --- the frame around a case ---

    async def open(self) -> None:
        """Start nodes and load, and wait until they are warm."""
        # The first one makes topics and tables; all at once is a case of its own.
        for number in range(1, self.options.nodes + 1):
            await self.cluster.start(f"n{number}")
            if number == 1:
                await self.cluster.balanced()
        await self.cluster.balanced()
        await self.load.start()
        self.load.call(self.cluster.ports())
        await self.load.succeeds(time.monotonic(), _WARM_UP_S)
        await self.calm()
        self._began = time.monotonic()

    async def end(self, problems: Sequence[str]) -> Played:
        """Heal everything, let the load end, and read what the log says."""
        problems = list(problems)
        try:
            await self._heal()
        except NotInTime as error:
            problems.append(str(error))
        ended = time.monotonic()
        attempts = await self.load.end()
        number = max((each.operation for each in attempts), default=0)
        for node in self.cluster.running:
            seen, failed = await read_actors(node.name, node.http_port, self.actors, number)
            attempts += seen
            problems += failed
            number += sum(map(len, self.actors))
        audit = await read_log(
            self.servers.kafka, self.servers.store.postgres_dsn, self.cluster.system
        )
        (self.folder / "log.txt").write_text("\n".join(audit.lines), encoding="utf-8")
        return Played(self._began, ended, attempts, audit, self.watches, self.faults, problems)

    async def _heal(self) -> None:
        await self.servers.restore()
        for node in self.cluster.nodes.values():
            if node.mesh_gate is not None:
                node.mesh_gate.heal()
            if node.is_frozen:
                node.thaw()
        names = [node.name for node in self.cluster.nodes.values()]
        down = [name for name in names[: self.options.nodes] if not self._runs(name)]
        await self.cluster.start(*down)
        healed = time.monotonic()
        await self.serves_again(healed)
        await self.calm()

    def _runs(self, name: str) -> bool:
        return self.cluster.nodes[name].is_running

    async def close(self) -> None:
        """Leave nothing running."""
        try:
            await self.load.close()
        finally:
            await asyncio.to_thread(self.cluster.close)
