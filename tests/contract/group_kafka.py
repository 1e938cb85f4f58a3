"""A consumer group on a broker that speaks Kafka's protocol, for the contract suite."""

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.group import LeaveGroupRequest

from eventstore.group_member import GroupMember
from eventstore.kafka_group import GroupTimes, kafka_group_member
from eventstore.kafka_log import KafkaSettings
from tests.contract.group_contract import Participant, new_group


class KafkaGroup:
    """One group, with the default times."""

    rebalance_s = 2.5

    def __init__(self, servers: str) -> None:
        self.settings = KafkaSettings(servers=servers)
        self.times = GroupTimes()
        self.name = new_group()

    @property
    def session_s(self) -> float:
        return self.times.session_timeout_s

    def member(self, participant: Participant) -> GroupMember:
        return kafka_group_member(self.settings, self.name, participant, self.times)

    async def expel(self, member_id: str) -> None:
        """Say goodbye for it, as Kafka's administration does."""
        client = AIOKafkaClient(bootstrap_servers=self.settings.servers)
        await client.bootstrap()
        found = await client.send(client.get_random_node(), FindCoordinatorRequest(self.name, 0))
        left = await client.send(found.coordinator_id, LeaveGroupRequest(self.name, member_id))
        assert left.error_code == 0
        await client.close()

    def killed(self, member_id: str) -> None:
        return
