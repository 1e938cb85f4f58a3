"""What the doctor makes of what it is told."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eventstore.errors import LogRefused, LogUnavailable
from eventstore.kafka_probe import api_versions
from eventstore.log import LogRecord, TopicPartition, TopicState
from eventstore.memory_log import MemoryLog
from eventstore.migrations import Applied, migrations
from eventstore.postgres_probe import DatabaseFacts
from eventstore.schema_topic import TopicEntry
from spawn.config import load_settings
from spawn.doctor import examine
from spawn.doctor.broker import (
    NEEDED,
    judge_numbers,
    judge_protocol,
    judge_topics,
    probe_write,
)
from spawn.doctor.check import Check
from spawn.doctor.database import judge_database
from spawn.doctor.machine import build_of, examine_machine, fits
from spawn.errors import InvalidSettings

TOPIC = "spawn.shop.Counter"
SCHEMAS = "spawn.shop._schemas"
GOOD = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "unclean.leader.election.enable": "false",
    "min.insync.replicas": "2",
    "max.message.bytes": str(8 * 1024**2),
}
_CURRENT = {each.name: Applied(each.checksum, each.compatible_with) for each in migrations()}
_AHEAD = {**_CURRENT, "9999_new.sql": Applied("x", 1)}
FACTS = DatabaseFacts(
    version=180006,
    version_text="18.6",
    time_us=5_000_000,
    is_standby=False,
    may_create=True,
    may_stage=True,
    may_write=True,
    migrations=_CURRENT,
    connections_max=100,
    connections=5,
)


def topics(
    replication: int = 3, settings: Mapping[str, str] | None = None
) -> Mapping[str, TopicState]:
    """Return a system's topics; `settings` are those of its event topic that are not good."""
    changed = {**GOOD, **(settings or {})}
    return {
        TOPIC: TopicState(name=TOPIC, partitions=16, replication=replication, settings=changed),
        SCHEMAS: TopicState(
            name=SCHEMAS, partitions=1, replication=3, settings={"cleanup.policy": "compact"}
        ),
    }


def of_topic(state: Mapping[str, TopicState]) -> Check:
    """Return the first check that is not well."""
    return next(check for check in judge_topics("shop", state) if check.status != "ok")


def test_sound_topics_are_one_line() -> None:
    """With how many there are."""
    [check] = judge_topics("shop", topics())
    assert (check.status, check.text) == ("ok", "1 with 16 partitions, copies: 3")


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("cleanup.policy", "compact", "failed"),
        ("retention.ms", "604800000", "failed"),
        ("retention.bytes", "1", "failed"),
        ("unclean.leader.election.enable", "true", "failed"),
        ("min.insync.replicas", "1", "failed"),
        ("max.message.bytes", "1048588", "warning"),
    ],
)
def test_a_topic_setting_that_is_wrong_is_told_with_its_mend(
    name: str, value: str, status: str
) -> None:
    """As the command that mends it."""
    check = of_topic(topics(settings={name: value}))
    assert check.status == status
    assert f"has {name}={value}" in check.text
    assert check.mend == (
        f"kafka-configs.sh --alter --topic {TOPIC} --add-config {name}={GOOD[name]}"
    )


def test_topics_that_are_missing_or_untold() -> None:
    """None at all; no schema topic; one copy; a broker that tells no settings."""
    assert of_topic({}).status == "warning"
    assert "has none in this log" in of_topic({}).text
    without = {TOPIC: topics()[TOPIC]}
    assert (of_topic(without).status, of_topic(without).text) == ("failed", "is missing")
    assert "lost with its broker's disk" in of_topic(topics(replication=1)).text
    untold = dict(topics())
    untold[TOPIC] = replace(untold[TOPIC], settings={})
    assert "does not tell them" in of_topic(untold).text


def test_a_broker_with_the_versions_needed_is_well() -> None:
    """Also where its ranges only overlap with ours."""
    versions = {key: (request.highest, 99) for key, request in NEEDED.items()}
    assert judge_protocol("b:9092", versions).status == "ok"


def test_a_broker_that_lacks_a_request_is_told() -> None:
    """What nothing works without has failed, the rest is a warning with its effect."""
    versions = {key: (request.lowest, request.lowest) for key, request in NEEDED.items()}
    old = judge_protocol("b:9092", {**versions, 1: (0, 3)})
    assert (old.status, old.text) == ("failed", "it lacks Fetch 4 to 11 (it has 0 to 3)")
    new = judge_protocol("b:9092", {**versions, 0: (8, 12)})
    assert new.status == "failed"
    less = {key: value for key, value in versions.items() if key != 32}
    check = judge_protocol("b:9092", less)
    assert check.status == "warning"
    assert "DescribeConfigs 0 to 2 (it has none): the settings of topics can't be" in check.text


@pytest.mark.parametrize(
    ("change", "name", "status", "text"),
    [
        ({}, "tables", "ok", "current"),
        ({"version": 130000, "version_text": "13.1"}, "database version", "failed", "13.1"),
        ({"migrations": None}, "tables", "warning", "not made yet"),
        ({"migrations": {}}, "tables", "warning", "0001_"),
        ({"migrations": {"9999_new.sql": Applied("x", None)}}, "tables", "failed", "newer version"),
        ({"migrations": _AHEAD}, "tables", "ok", "a newer release"),
        ({"is_standby": True}, "rights", "failed", "standby"),
        ({"may_stage": False}, "rights", "failed", "TEMPORARY"),
        ({"may_write": False}, "rights", "failed", "SELECT, INSERT"),
        ({"may_create": False}, "rights", "ok", ""),
        ({"may_create": False, "migrations": None}, "rights", "failed", "CREATE"),
        ({"connections": 99}, "connections", "warning", "99 of 100"),
        ({"time_us": 8_500_000}, "clock", "warning", "3.500 s ahead"),
        ({"time_us": 2_000_000}, "clock", "warning", "3.000 s behind"),
        ({"time_us": 5_900_000}, "clock", "ok", ""),
        ({"time_us": 10_100_000}, "clock", "failed", "node.clock_limit"),
    ],
)
def test_a_database_is_judged_by_its_answers(
    change: dict[str, Any], name: str, status: str, text: str
) -> None:
    """Version, tables, rights, connections, clock; a mend with all that is not well."""
    checks = {each.name: each for each in judge_database(replace(FACTS, **change), 5_000_000)}
    assert checks[name].status == status
    assert text in checks[name].text
    assert all(bool(each.mend) == (each.status != "ok") for each in checks.values())


@pytest.mark.parametrize(
    ("variables", "platform", "prefix", "build"),
    [
        ({"CONFIG_ARGS": "'--enable-optimizations' '--with-lto'"}, "linux", "/opt", "optimised"),
        ({"CONFIG_ARGS": "'--x'", "PY_CFLAGS": "-fprofile-use"}, "linux", "/opt", "optimised"),
        ({"CONFIG_ARGS": "'--x'", "CFLAGS_NODIST": "-fprofile-instr-use=x"}, "darwin", "/opt",
         "optimised"),
        ({"CONFIG_ARGS": "'--prefix=/usr' '--with-dtrace'"}, "linux", "/usr", "optimised"),
        ({"CONFIG_ARGS": "'--prefix=/opt/pyenv/versions/3.11.7'",
          "PGO_PROF_USE_FLAG": "-fprofile-use"}, "linux", "/opt/pyenv/versions/3.11.7",
         "plain"),
        ({}, "win32", "C:\\Python311", "optimised"),
        ({"CONFIG_ARGS": "'--with-pydebug'", "Py_DEBUG": 1}, "linux", "/usr", "debug"),
    ],
)  # fmt: skip
def test_how_python_was_built(
    variables: dict[str, object], platform: str, prefix: str, build: str
) -> None:
    """Flags say so; distributions strip them; what make would have used says nothing."""
    assert build_of(variables, platform, prefix) == build


@pytest.mark.parametrize(
    ("version", "wanted", "met"),
    [
        ("0.14.1", ">=0.14,<0.15", True),
        ("0.15", ">=0.14,<0.15", False),
        ("0.15.0", "<0.15", False),
        ("2", ">=2.0", True),
        ("2.0rc1", ">=2.1", False),
        ("15.0.0", ">=9", True),
        ("1.0", "", True),
        ("1.0", "~=1.0", True),
    ],
)
def test_versions_are_compared_by_their_numbers(version: str, wanted: str, met: bool) -> None:
    """Bounds of a kind that we don't use count as met."""
    assert fits(version, wanted) is met


def test_this_machine_is_told(tmp_path: Path) -> None:
    """Each check once, none raises, and each that is not well says what to do."""
    checks = list(examine_machine(load_settings(environ={}), tmp_path / "not there"))
    names = [check.name for check in checks]
    assert names == [
        "python", "python build", "event loop", "packages", "open files", "memory", "disk",
    ]  # fmt: skip
    assert all(bool(check.mend) == (check.status != "ok") for check in checks)


async def test_a_sound_log_passes_the_write_probe() -> None:
    """More than once."""
    log = MemoryLog()
    for _ in range(2):
        check = await probe_write(log, log, "shop", lambda: 0)
        assert check.status == "ok"


@pytest.mark.parametrize("fault", ["gap", "end", "changed"])
async def test_a_log_that_breaks_its_word_fails_the_write_probe(fault: str) -> None:
    """Offsets with a gap, an end that is not the end, records that come back changed."""

    class Liar(MemoryLog):
        """A log with one fault."""

        async def append(self, at: TopicPartition, batch: Any, time_ms: int) -> int:
            if fault == "changed":
                batch = [LogRecord(each.key, each.value.upper() + b"!") for each in batch]
            base = await super().append(at, batch, time_ms)
            if fault == "gap":
                self.put(at, LogRecord(None, b"a marker"))
            return base

        async def bounds(self, at: TopicPartition) -> tuple[int, int]:
            first, end = await super().bounds(at)
            return first, end - 1 if fault == "end" and end else end

    log = Liar()
    check = await probe_write(log, log, "shop", lambda: 0)
    assert check.status == "failed"
    assert "brokers.md" in check.mend


async def serving(answer: bytes) -> tuple[asyncio.Server, int]:
    """Return a server that answers anything so, and its port."""

    async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answered, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


async def test_a_brokers_versions_are_read() -> None:
    """As ApiVersions 0 tells them."""
    body = struct.pack(">ihi", 1, 0, 2) + struct.pack(">hhhhhh", 0, 3, 11, 1, 4, 17)
    server, port = await serving(struct.pack(">i", len(body)) + body)
    async with server:
        assert await api_versions("127.0.0.1", port, 5) == {0: (3, 11), 1: (4, 17)}


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x03\x00"])
async def test_what_is_no_broker_is_told(answer: bytes) -> None:
    """A web server, a listener with TLS, one that hangs up."""
    server, port = await serving(answer)
    async with server:
        with pytest.raises(LogRefused, match=str(port)):
            await api_versions("127.0.0.1", port, 5)


async def test_a_broker_that_is_not_there_or_silent_is_told() -> None:
    """Within the time given."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with pytest.raises(LogUnavailable):
            await api_versions("127.0.0.1", port, 5)
        free.listen()
        with pytest.raises(LogUnavailable, match=r"within 0\.05 s"):
            await api_versions("127.0.0.1", port, 0.05)


async def test_wrong_settings_are_one_failed_check(tmp_path: Path) -> None:
    """And the machine is looked at all the same."""
    error = InvalidSettings("http.port must be a whole number", at="--http-port (flag)")
    checks = [each async for each in examine(error, data=tmp_path, time_us=lambda: 0)]
    assert checks[0].status == "failed"
    assert "--http-port (flag)" in checks[0].text
    assert "python build" in [check.name for check in checks]
    assert "database" not in [check.name for check in checks]


async def test_addresses_that_are_not_set_are_failed_checks(tmp_path: Path) -> None:
    """With how to set them."""
    settings = load_settings(environ={})
    checks = {each.name: each async for each in examine(settings, data=tmp_path, time_us=lambda: 0)}
    assert "SPAWN_KAFKA_BOOTSTRAP_SERVERS" in checks["log"].mend
    assert "SPAWN_POSTGRES_DSN" in checks["database"].mend


async def test_each_step_to_a_broker_fails_by_itself(tmp_path: Path) -> None:
    """A name, a port, and what is no broker are told apart."""
    server, port = await serving(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    servers = f"no-such-host.invalid:9092,127.0.0.1:1,127.0.0.1:{port}"
    settings = load_settings(
        flags={
            "kafka.bootstrap_servers": servers,
            "postgres.dsn": "postgresql://me:geheim@127.0.0.1:1/x",
        },
        environ={},
    )
    async with server:
        checks = [each async for each in examine(settings, data=tmp_path, time_us=lambda: 0)]
    failed = {check.name: check.text for check in checks if check.status == "failed"}
    assert set(failed) == {
        "log name no-such-host.invalid",
        "log port 1",
        f"log protocol 127.0.0.1:{port}",
        "database",
    }
    assert "does not speak the Kafka protocol" in failed[f"log protocol 127.0.0.1:{port}"]
    assert "geheim" not in str(checks)


async def test_a_way_without_tls_is_a_warning(tmp_path: Path) -> None:
    """It works, but others may listen; told before anything is asked of a server."""
    settings = load_settings(
        flags={"kafka.bootstrap_servers": "no-such-host.invalid:9092"}, environ={}
    )
    checks = {each.name: each async for each in examine(settings, data=tmp_path, time_us=lambda: 0)}
    found = checks["kafka without TLS"]
    assert found.status == "warning"
    assert "no-such-host.invalid" in found.text
    assert found.mend == "set SPAWN_KAFKA_SECURITY_PROTOCOL=SSL"


def test_a_topic_with_other_partitions_than_it_was_made_with_fails() -> None:
    """What was recorded first counts; one that is gone is another check's matter."""
    recorded = [TopicEntry("t", "A", 4), TopicEntry("t", "B", 8), TopicEntry("gone", "C", 1)]
    state = TopicState(name="t", partitions=4, replication=1)
    assert judge_numbers({"t": state}, recorded) == []
    [check] = judge_numbers({"t": replace(state, partitions=8)}, recorded)
    assert (check.name, check.status) == ("topic t", "failed")
    assert "has 8 partitions, it was made with 4" in check.text
