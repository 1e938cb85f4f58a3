"""Whether a node can do its work, and how partitions change hands."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from eventstore.errors import LogUnavailable, SnapshotsUnavailable
from eventstore.log import TopicPartition
from spawn.membership.fitness import Fitness
from spawn.membership.handing import Handing
from spawn.mesh.memory_mesh import MemoryNetwork
from spawn.mesh.peers import Peers
from spawn.mesh.wire import LEAST_VERSION, VERSION, Handover, Hello
from tests.services.mesh_receiver import KeepingReceiver
from tests.simulation.loop import SimLoop

_AT = TopicPartition("t", 3)


def _virtually(story: Any) -> None:
    loop = SimLoop(random.Random(1))
    try:
        loop.run_until_complete(story(loop))
    finally:
        loop.close()


def test_a_node_is_unfit_once_two_life_signs_in_a_row_fail() -> None:
    """And fit with the first that comes; what is missing is named."""

    async def story(loop: SimLoop) -> None:
        failing: list[Exception | None] = [None, None]
        told: list[tuple[float, str]] = []

        async def probe(number: int) -> None:
            if (error := failing[number]) is not None:
                raise error

        fitness = Fitness(
            {"the log": lambda: probe(0), "the database": lambda: probe(1)},
            lambda missing: told.append((loop.now, missing)),
        )
        running = loop.create_task(fitness.run())
        await asyncio.sleep(1.1)
        failing[0] = LogUnavailable("no")
        await asyncio.sleep(0.2)
        failing[0] = None
        await asyncio.sleep(1.0)
        assert told == [], "once is nothing"
        failing[:] = [LogUnavailable("no"), SnapshotsUnavailable("no")]
        began = loop.now
        await asyncio.sleep(1.0)
        assert told[-1][1] == fitness.missing == "the log, the database"
        assert told[-1][0] - began <= 0.5
        failing[:] = [None, None]
        await asyncio.sleep(0.3)
        assert [missing for _, missing in told] == ["the log, the database", ""]
        running.cancel()

    _virtually(story)


def test_a_life_sign_that_does_not_come_is_not_waited_for() -> None:
    """Found within two answers' time and a look."""

    async def story(loop: SimLoop) -> None:
        told: list[float] = []

        async def probe() -> None:
            await asyncio.sleep(100)

        fitness = Fitness({"the log": probe}, lambda missing: told.append(loop.now))
        running = loop.create_task(fitness.run())
        await asyncio.sleep(3.0)
        assert len(told) == 1
        assert told[0] < 1.8
        running.cancel()

    _virtually(story)


class _Ends(KeepingReceiver):
    """One node: its handing hears what its links bring."""

    def __init__(self, network: MemoryNetwork, loop: SimLoop, name: str) -> None:
        super().__init__()
        self.peers = Peers(self, loop.time, lambda: 1.0)
        hello = Hello(VERSION, LEAST_VERSION, "shop", name.encode().hex(), name, "test")
        self.peers.use(network.join(hello, self.peers))
        self.handing = Handing(self.peers)
        self.asked: list[tuple[Any, Handover]] = []

    def received(self, link: Any, messages: Any) -> None:
        super().received(link, messages)
        self.handing.received(link, messages)
        self.asked += [(link, each) for each in messages if isinstance(each, Handover)]

    def ended(self, link: Any, ended: Any) -> None:
        super().ended(link, ended)
        self.handing.ended(link)


def _ends(loop: SimLoop, *names: str) -> tuple[MemoryNetwork, list[_Ends]]:
    network = MemoryNetwork(loop.call_later, lambda: loop.now)
    return network, [_Ends(network, loop, name) for name in names]


def test_who_asked_last_is_told_that_it_is_released_and_the_others_are_not() -> None:
    """Two that were told so would claim against each other."""

    async def story(loop: SimLoop) -> None:
        _, (owner, first, second) = _ends(loop, "o", "f", "s")
        answers = []
        for each, name in ((first, "f"), (second, "s")):
            answers.append(loop.create_task(each.handing.ask(_AT, "o", name)))
            await asyncio.sleep(0.1)
        for link, asked in owner.asked:
            owner.handing.promise(link, asked)
        owner.handing.let_go(_AT, 7, is_lost=False)
        assert await asyncio.gather(*answers) == ["refused", "released"]

    _virtually(story)


def test_a_partition_that_was_lost_meanwhile_is_not_released() -> None:
    """Whoever asked has to ask its new owner."""

    async def story(loop: SimLoop) -> None:
        _, (owner, asker) = _ends(loop, "o", "a")
        answer = loop.create_task(asker.handing.ask(_AT, "o", "a"))
        await asyncio.sleep(0.1)
        owner.handing.promise(*owner.asked[0])
        owner.handing.let_go(_AT, 7, is_lost=True)
        assert await answer == "not-owner"

    _virtually(story)


def test_an_owner_that_dies_silent_or_not_gives_no_answer() -> None:
    """The asker is not held up for long."""

    async def story(loop: SimLoop) -> None:
        network, (_, asker) = _ends(loop, "o", "a")
        began = loop.now
        assert await asker.handing.ask(_AT, "o", "a") == ""
        assert 0.9 < loop.now - began < 1.1
        answer = loop.create_task(asker.handing.ask(_AT, "o", "a"))
        await asyncio.sleep(0.1)
        network.kill("o")
        assert await answer == ""
        assert loop.now - began < 1.5
        assert await asker.handing.ask(_AT, "nobody", "a") == ""

    _virtually(story)
