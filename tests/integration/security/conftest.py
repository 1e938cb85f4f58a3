"""Servers with TLS and logins: one Apache Kafka, one PostgreSQL for the whole folder.

They are required in CI as Apache Kafka is (SPAWN_REQUIRE_KAFKA=1); elsewhere what is missing skips
its tests.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.node.servers import new_nodes
from tests.services import apache_kafka, secure_postgres
from tests.services.apache_kafka import KafkaMissing
from tests.services.certificates import Authority
from tests.services.secure_kafka import SecureKafka
from tests.services.secure_postgres import SecurePostgres

__all__ = ["new_nodes"]


def _missing(what: str, how: str) -> None:
    text = f"{what}; to run it {how}"
    if os.environ.get("SPAWN_REQUIRE_KAFKA") == "1":
        pytest.fail(f"required (SPAWN_REQUIRE_KAFKA=1): {text}", pytrace=False)
    pytest.skip(text)


@pytest.fixture(scope="session")
def openssl() -> None:
    """Certificates can be made."""
    if not Authority.can_be_made():
        _missing("no openssl", "install openssl")


@pytest.fixture(scope="session")
def secure_kafka_server(
    openssl: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SecureKafka]:
    """The broker. Tests ask for `secure_kafka`."""
    try:
        apache_kafka.jars()
    except KafkaMissing as error:
        _missing(f"Apache Kafka: {error}", apache_kafka.HOW_TO_GET_IT)
    with SecureKafka(tmp_path_factory.mktemp("certificates")) as server:
        server.start()
        yield server


@pytest.fixture
def secure_kafka(secure_kafka_server: SecureKafka) -> SecureKafka:
    """The broker, running."""
    secure_kafka_server.ensure_running()
    return secure_kafka_server


@pytest.fixture(scope="session")
def secure_postgres_server(
    openssl: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SecurePostgres]:
    """The database. Tests ask for `database`."""
    if secure_postgres.programs() is None:
        _missing("no PostgreSQL with TLS", secure_postgres.HOW_TO_GET_IT)
    with SecurePostgres(tmp_path_factory.mktemp("certificates")) as server:
        yield server


@pytest.fixture
def database(secure_postgres_server: SecurePostgres) -> Iterator[SecurePostgres]:
    """The database, with its good certificate before and after the test."""
    yield secure_postgres_server
    secure_postgres_server.use(secure_postgres_server.good)


@pytest.fixture(scope="session")
def authority(openssl: None, tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority for tests that need no broker."""
    return Authority(tmp_path_factory.mktemp("certificates") / "authority")


@pytest.fixture
def every_log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """All that is logged, at level DEBUG, by the client libraries too."""
    log = logging.getLogger("aiokafka")
    before = log.level
    log.setLevel(logging.DEBUG)
    caplog.set_level(logging.DEBUG)
    yield caplog
    log.setLevel(before)


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    """A file for a password."""
    return tmp_path / "password"
