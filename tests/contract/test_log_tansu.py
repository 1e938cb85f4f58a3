"""The event log on the embedded broker, Tansu: the contract."""

from collections.abc import AsyncIterator, Iterator

import pytest

from eventstore.kafka_log import KafkaAdmin, KafkaLog, KafkaSettings
from eventstore.log import LogRecord, TopicPartition
from tests.contract.log_contract import TIME_MS, LogContract, read
from tests.services.tansu import tansu


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker with an empty log."""
    with tansu(tmp_path_factory.mktemp("tansu")) as address:
        yield address


@pytest.fixture
async def log(servers: str) -> AsyncIterator[KafkaLog]:
    """A log client of its own for each test."""
    log = KafkaLog(KafkaSettings(servers=servers))
    yield log
    await log.close()


@pytest.fixture
def admin(servers: str) -> KafkaAdmin:
    """The administration of the same broker."""
    return KafkaAdmin(KafkaSettings(servers=servers))


class TestTansu(LogContract):
    """The contract."""

    async def test_the_end_of_a_long_log_is_found(self, log: KafkaLog, at: TopicPartition) -> None:
        """Tansu looks at every batch for it, longer than a fetch that waits a little."""
        for _ in range(3_000):
            await log.append(at, [LogRecord(b"actor", b"x")] * 3, TIME_MS)
        assert await log.bounds(at) == (0, 9_000)
        assert len(await read(log, at, 8_998, 9_000)) == 2
