"""What all tests share: time limits by folder, property-test settings, and Apache Kafka.

Apache Kafka starts when a test first asks for it and serves the whole run. Without Java 17 and
Maven such tests are skipped, and the run says so in one line at its end; with SPAWN_REQUIRE_KAFKA=1
they fail.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import is_hypothesis_test, settings

from tests.services import apache_kafka as kafka
from tests.services.apache_kafka import ApacheKafka

_TESTS = Path(__file__).parent

# Seconds for one test, its fixtures not counted; for all others see `timeout` in pyproject.toml.
# A test that knows better marks itself: `@pytest.mark.timeout(20)`.
_TIMEOUT_S = {
    "contract": 60,
    "docs": 60,
    "integration": 180,
    "simulation": 60,
    "compat": 10,
    "e2e": 300,
}

_PROPERTY_TIMEOUT_S = 120

_KAFKA_FIXTURES = {"apache_kafka", "apache_kafka_server", "secure_kafka"}

_kafka_missing = pytest.StashKey[str]()
_kafka_skipped = pytest.StashKey[int]()

# No time limit for one example: on a busy machine it only makes a sound test fail now and then. CI
# draws the same examples each time, so that a change is judged by the change; elsewhere not.
settings.register_profile("spawn", deadline=None, print_blob=True)
settings.register_profile("ci", settings.get_profile("spawn"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "spawn")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test the time limit of its folder, and those that ask for Kafka their marker."""
    for item in items:
        folder = item.path.relative_to(_TESTS).parts[0]
        marked = item.get_closest_marker("timeout") is not None
        if is_hypothesis_test(getattr(item, "function", None)) and not marked:
            # Hundreds of examples, and on a busy machine each may take five times as long.
            item.add_marker(pytest.mark.timeout(_PROPERTY_TIMEOUT_S))
        if folder in _TIMEOUT_S and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_TIMEOUT_S[folder]))
        if _KAFKA_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.kafka)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Get Apache Kafka's files before the tests, where a minute of silence would be a riddle."""
    wanted = any(item.get_closest_marker("kafka") for item in session.items)
    if session.config.option.collectonly or not wanted:
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and not kafka.are_jars_there():
        reporter.write_line(f"Apache Kafka {kafka.kafka_version()}: getting it by Maven, once ...")
    _what_is_missing(session.config)


def _what_is_missing(config: pytest.Config) -> str:
    """Return why Apache Kafka cannot be had here, in one line or more, or nothing."""
    if _kafka_missing not in config.stash:
        try:
            kafka.jars()
        except kafka.KafkaMissing as error:
            config.stash[_kafka_missing] = str(error)
        else:
            config.stash[_kafka_missing] = ""
    return config.stash[_kafka_missing]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say in one line what was skipped for want of Apache Kafka and how to get it."""
    skipped = config.stash.get(_kafka_skipped, 0)
    if skipped:
        reason = config.stash[_kafka_missing].splitlines()[0]
        line = (
            f"Apache Kafka: {skipped} tests skipped ({reason}). To run them {kafka.HOW_TO_GET_IT}."
        )
        terminalreporter.write_line(line, yellow=True)


@pytest.fixture(scope="session")
def apache_kafka_server(pytestconfig: pytest.Config) -> Iterator[ApacheKafka]:
    """One Apache Kafka broker for the whole run. Tests ask for `apache_kafka`."""
    with ApacheKafka() as server:
        server.start()
        yield server


@pytest.fixture
def apache_kafka(request: pytest.FixtureRequest) -> Iterator[ApacheKafka]:
    """The run's Apache Kafka broker, running: also after a test that stopped, killed or froze it.

    Topics outlive a test, so each test takes names of its own.
    """
    config = request.config
    missing = _what_is_missing(config)
    if missing:
        if os.environ.get("SPAWN_REQUIRE_KAFKA") == "1":
            pytest.fail(
                f"Apache Kafka is required (SPAWN_REQUIRE_KAFKA=1): {missing}", pytrace=False
            )
        config.stash[_kafka_skipped] = config.stash.get(_kafka_skipped, 0) + 1
        pytest.skip(f"Apache Kafka: {missing.splitlines()[0]}")
    server: ApacheKafka = request.getfixturevalue("apache_kafka_server")
    server.ensure_running()
    yield server
    if server.is_running:
        server.thaw()
