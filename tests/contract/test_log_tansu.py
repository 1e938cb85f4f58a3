"""The event log on the embedded broker, Tansu: the contract."""

import socket
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from eventstore.kafka_log import KafkaAdmin, KafkaLog, KafkaSettings
from eventstore.log import LogRecord, TopicPartition
from spawn.dev import binaries
from tests.contract.log_contract import TIME_MS, LogContract, read
from tests.services.keeper import KeptProcess
from tests.services.ports import free_port

_START_TIMEOUT_S = 10


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker with an empty log."""
    folder = tmp_path_factory.mktemp("tansu")
    address = f"127.0.0.1:{free_port()}"
    url = f"tcp://{address}"
    command = [str(binaries.tansu()), "broker", "--storage-engine", "memory://tansu/"]
    command += ["--listener-url", url, "--advertised-listener-url", url]
    broker = KeptProcess(command, log=folder / "tansu.log")
    _wait_listening(address)
    yield address
    broker.kill()


def _wait_listening(address: str) -> None:
    host, port = address.split(":")
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


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
