"""Consumer groups on Apache Kafka: the contract, aliens, and a broker that goes and comes."""

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import InconsistentGroupProtocolError

from eventstore.errors import GroupRefused
from eventstore.kafka_group import GroupTimes
from eventstore.kafka_log import KafkaAdmin, KafkaSettings
from eventstore.log import TopicSettings
from tests.contract.group_contract import (
    GroupContract,
    Participant,
    Taking,
    taking_part,
    until,
)
from tests.contract.group_kafka import KafkaGroup
from tests.services.apache_kafka import ApacheKafka
from tests.services.ports import free_port


@pytest.fixture
def group(apache_kafka: ApacheKafka) -> KafkaGroup:
    """A new group."""
    return KafkaGroup(apache_kafka.bootstrap)


@pytest.mark.timeout(120)
class TestKafkaGroup(GroupContract):
    """The contract."""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("end", [ApacheKafka.stop, ApacheKafka.kill])
async def test_a_group_goes_on_over_a_broker_that_starts_again(
    group: KafkaGroup, apache_kafka: ApacheKafka, end: Callable[[ApacheKafka], None]
) -> None:
    """In the same generation or a new one; stopped in order, and killed."""
    async with taking_part(group, "a", "b") as takings:
        await asyncio.to_thread(end, apache_kafka)
        for taking in takings:
            await taking.shows(lambda each: each.member.status().failure != "")
        await asyncio.to_thread(apache_kafka.start)
        for taking in takings:
            await taking.shows(lambda each: each.member.status().failure == "", 20)
            await taking.shows(lambda each: each.member.status().generation is not None, 20)
            await taking.has("a", "b", within_s=20)
        takings[0].seen.name = "a2"
        takings[0].member.rejoin()
        for taking in takings:
            await taking.has("a2", "b", within_s=20)


async def test_a_frozen_broker_costs_the_membership_only_in_words(
    group: KafkaGroup, apache_kafka: ApacheKafka
) -> None:
    """After a session's length it is told; when the broker answers, all goes on."""
    async with taking_part(group, "a", "b") as takings:
        apache_kafka.freeze()
        for taking in takings:
            await taking.shows(lambda each: each.seen.losses != [], group.session_s + 2)
            assert taking.member.status().generation is None
        apache_kafka.thaw()
        for taking in takings:
            await taking.shows(lambda each: each.member.status().generation is not None, 20)
            await taking.has("a", "b", within_s=20)


class _Elsewhere:
    """A member on a loop of its own in another thread, which can be blocked like a process."""

    def __init__(self, group: KafkaGroup, name: str) -> None:
        self.seen = Participant(name)
        self._go_on = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._group = group
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            self.member = self._group.member(self.seen)
            runner.run(self.member.run())

    def freeze(self) -> None:
        self._go_on.clear()
        self._loop.call_soon_threadsafe(self._go_on.wait)

    def thaw(self) -> None:
        self._go_on.set()

    async def end(self) -> None:
        self._go_on.set()
        asyncio.run_coroutine_threadsafe(self.member.leave(), self._loop)
        await asyncio.to_thread(self._thread.join)


async def test_a_frozen_member_is_replaced_and_learns_of_it(group: KafkaGroup) -> None:
    """Nothing of it is heard for a session; thawed, it is told and comes back."""
    async with taking_part(group, "a") as (a,):
        frozen = _Elsewhere(group, "b")
        try:
            await a.has("a", "b")
            # The leader of a generation has it before those whom it leads.
            await until(lambda: frozen.seen.generations != [])
            before = frozen.seen.generations[-1]
            frozen.freeze()
            await a.has("a", within_s=group.session_s + 4)
            assert frozen.seen.losses == []
            frozen.thaw()
            await a.has("a", "b")
            await until(lambda: len(frozen.seen.losses) == 1)
            await until(lambda: frozen.seen.generations[-1].member_id != before.member_id)
            assert a.seen.losses == []
        finally:
            await frozen.end()


async def _consumer(group: KafkaGroup) -> AIOKafkaConsumer:
    """Return a consumer as other programs have them, in the same group."""
    topic = f"aliens-{group.name}"
    await KafkaAdmin(group.settings).create({topic: TopicSettings(partitions=1)})
    return AIOKafkaConsumer(topic, bootstrap_servers=group.settings.servers, group_id=group.name)


async def test_a_node_is_refused_where_consumers_use_its_group(group: KafkaGroup) -> None:
    """The text names the group and what to do."""
    consumer = await _consumer(group)
    await consumer.start()
    try:
        with pytest.raises(GroupRefused, match=rf"{group.name}.*stop them"):
            await asyncio.wait_for(group.member(Participant("a")).run(), 10)
    finally:
        await consumer.stop()


async def test_consumers_are_refused_where_nodes_use_their_group(group: KafkaGroup) -> None:
    """By the broker: they can't take partitions away."""
    async with taking_part(group, "a") as (a,):
        consumer = await _consumer(group)
        with pytest.raises(InconsistentGroupProtocolError):
            await consumer.start()
        await consumer.stop()
        assert len(a.seen.generations) == 1


async def test_a_session_too_short_for_the_broker_is_made_longer(group: KafkaGroup) -> None:
    """Kafka's least is 6 s by default; what is taken instead is what the member goes by."""
    group.times = GroupTimes(session_timeout_s=2)
    async with taking_part(group, "a") as (a,):
        assert a.member._coordinator.session_timeout_s == 10


async def test_a_name_that_no_group_can_have_is_refused(group: KafkaGroup) -> None:
    """At once, by name."""
    group.name = ""
    with pytest.raises(GroupRefused, match="no group ''"):
        await asyncio.wait_for(group.member(Participant("a")).run(), 10)


async def test_a_group_too_large_for_the_broker_is_told(group: KafkaGroup) -> None:
    """Kafka keeps a group as one record, and says only "unknown error" where that is too long."""
    taking = Taking(group, "a" * 1_100_000)
    await until(lambda: "message.max.bytes" in taking.member.status().failure)
    taking.seen.name = "a"
    await taking.has("a")
    await taking.kill()


@pytest.fixture
def complaints() -> Iterator[list[object]]:
    """What the loop complains of; nothing."""
    found: list[object] = []
    yield found
    assert found == []


async def test_a_broker_that_is_not_there_is_waited_for(complaints: list[object]) -> None:
    """`run` goes on asking; the status says why it has no generation; both ends are clean."""
    asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
    group = KafkaGroup(f"127.0.0.1:{free_port()}")
    group.settings = KafkaSettings(servers=group.settings.servers, connect_timeout_s=0.3)
    taking = Taking(group, "a")
    await until(lambda: group.settings.servers in taking.member.status().failure)
    assert taking.member.status().heartbeat_age_s is None
    assert not taking.task.done()
    await taking.member.leave()
    await taking.task
