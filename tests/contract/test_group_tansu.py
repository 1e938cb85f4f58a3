"""Consumer groups on the embedded broker, Tansu: the contract."""

from collections.abc import Iterator

import pytest

from tests.contract.group_contract import GroupContract
from tests.contract.group_kafka import KafkaGroup
from tests.services.tansu import tansu


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker with an empty log."""
    with tansu(tmp_path_factory.mktemp("tansu")) as address:
        yield address


class TansuGroup(KafkaGroup):
    """Each rebalance takes three seconds, whoever has joined, whatever time-out was asked for."""

    rebalance_s = 6.0


@pytest.fixture
def group(servers: str) -> KafkaGroup:
    """A new group."""
    return TansuGroup(servers)


@pytest.mark.timeout(120)
class TestTansuGroup(GroupContract):
    """The contract."""

    cancelled_after = (0, 5)
