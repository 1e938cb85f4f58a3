"""Commands that read log and database without a node: as processes, on real servers."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Sequence
from typing import Any

import pytest

from eventstore.kafka_log import KafkaAdmin, KafkaSettings
from eventstore.log import TopicSettings
from tests.integration.node.commands import spawn, start
from tests.integration.node.running import COUNTER, Client, Nodes
from tests.integration.node.servers import NewNodes
from tests.services.apache_kafka import ApacheKafka


async def until_flushed(nodes: Nodes, lag: int = 0) -> Sequence[dict[str, Any]]:
    """Wait until the database has all; return the partitions."""
    deadline = time.monotonic() + 20
    while True:
        told = await spawn(nodes, "partitions", "--json")
        assert told.code == 0, told.err
        if all(line["lag"] <= lag for line in told.lines):
            return told.lines
        assert time.monotonic() < deadline, told.out


async def test_a_system_is_read_with_and_without_its_node(
    new_nodes: NewNodes, tansu: str, postgres_dsn: str
) -> None:
    """Histories, actors, partitions: the same after the node has ended."""
    nodes = new_nodes(tansu, postgres_dsn)
    node = await nodes.start().serving()
    async with Client.open(node.url) as client:
        for name in ("a", "b/c", "ü"):
            assert (await client.invoke(f"Counter/{name}", "add", 5)).status == 200
        assert (await client.invoke("Counter/a", "add", -1)).status == 409
        assert (await client.invoke("Counter/a", "add", 2)).status == 200
    table = await spawn(nodes, "events", "Counter/a", "--state", "--target", str(COUNTER), "--utc")
    assert table.code == 0, table.err
    titles, *rows = table.out.splitlines()
    assert titles.split() == ["rev", "when", "action", "by", "event", "state"]
    assert [row.split()[-1] for row in rows] == ["total=5", "total=5", "total=7"]

    running = await until_flushed(nodes)
    assert {line["owner"] for line in running} == {node.url}
    assert {(line["state"], line["released"]) for line in running} == {("claimed", False)}
    assert [line["partition"] for line in running] == [0, 1, 2]
    assert await node.stop() == 0

    ended = await spawn(nodes, "partitions", "Counter", "--json")
    assert {line["state"] for line in ended.lines} == {"released"}
    assert {line["owner"] for line in ended.lines} == {node.url}
    shown = await spawn(nodes, "partitions")
    assert shown.out.splitlines()[0].split()[:4] == ["topic", "part", "owner", "claim"]
    assert len(shown.out.splitlines()) == 4

    listed = await spawn(nodes, "actors", "Counter", "--json")
    assert [(line["id"], line["revision"], line["deleted"]) for line in listed.lines] == [
        ("a", 2, False), ("b/c", 1, False), ("ü", 1, False),
    ]  # fmt: skip
    assert all(line["time"].startswith("20") for line in listed.lines)
    one = await spawn(nodes, "actors", "--limit", "1")
    assert "Counter/a" in one.out
    assert "spawn actors --after Counter/a" in one.err
    rest = await spawn(nodes, "actors", "--after", "Counter/a", "--json")
    assert [line["id"] for line in rest.lines] == ["b/c", "ü"]

    # Without the database it is all in the log.
    nodes.dsn = ""
    unstored = await spawn(nodes, "actors", "Counter", "--json")
    assert unstored.lines == listed.lines

    missing = await spawn(nodes, "events", "Countr/a")
    assert missing.code == 4
    assert "did you mean `Counter`?" in missing.err
    never = await spawn(nodes, "events", "Counter/never")
    assert (never.code, never.out) == (4, "")
    assert "Counter/never was never written" in never.err
    hint = await spawn(nodes, "events", "Counter/a", "--state")
    assert "--target counter.py" in hint.err
    wrong = await spawn(nodes, "events", "Counter/a", "--state", "--target", "nothing.py")
    assert wrong.code == 1
    assert "nothing.py is not a file [invalid-target]" in wrong.err


async def test_past_states_are_read_without_a_node(
    new_nodes: NewNodes, tansu: str, postgres_dsn: str
) -> None:
    """By revision and by time; what was not, or can't be folded, is told."""
    nodes = new_nodes(tansu, postgres_dsn)
    node = await nodes.start().serving()
    async with Client.open(node.url) as client:
        for number in (5, 2, -1, 4):
            await client.invoke("Counter/a", "add", number)
        asked = await client.send("GET", "/v1/actors/Counter/a?revision=2")
        assert (asked.json["revision"], asked.json["state"]) == (2, {"total": 7})
    assert await node.stop() == 0
    code = ("--target", str(COUNTER))
    times = [line["time"] for line in (await spawn(nodes, "events", "Counter/a", "--json")).lines]
    for at, revision, total in (
        ("1", 1, 5), ("2", 2, 7), ("3", 3, 11), ("0", 0, 0), (times[1], 2, 7), (times[2], 2, 7),
    ):  # fmt: skip
        told = await spawn(nodes, "state", "Counter/a", "--at", at, "--json", *code)
        assert told.code == 0, told.err
        assert (told.lines[0]["revision"], told.lines[0]["state"]) == (revision, {"total": total})
    shown = await spawn(nodes, "state", "Counter/a", "--at", "2", *code)
    assert shown.out.splitlines()[1].split() == ["total", "7"]
    for at in ("4", "2020-01-01"):
        missing = await spawn(nodes, "state", "Counter/a", "--at", at, *code)
        assert (missing.code, "[unknown-revision]" in missing.err) == (4, True)
    unfolded = await spawn(nodes, "state", "Counter/a", "--at", "1")
    assert (unfolded.code, "--target counter.py" in unfolded.err) == (2, True)
    wrong = await spawn(nodes, "state", "Counter/a", "--at", "soon")
    assert (wrong.code, "a revision or a time" in wrong.err) == (2, True)


async def test_following_prints_what_comes_and_ends_with_ctrl_c(
    new_nodes: NewNodes, tansu: str, postgres_dsn: str
) -> None:
    """With the state after each; the exit code is 0, since that is the way to end it."""
    nodes = new_nodes(tansu, postgres_dsn)
    node = await nodes.start().serving()
    async with Client.open(node.url) as client:
        await client.invoke("Counter/a", "add", 1)
        process = await start(
            nodes, "events", "Counter/a", "--follow", "--state", "--json", "--target", str(COUNTER)
        )
        assert process.stdout is not None
        states = [json.loads(await process.stdout.readline())["state"]]
        for number in (2, 3):
            await client.invoke("Counter/b", "add", 1)
            await client.invoke("Counter/a", "add", number)
            states.append(json.loads(await process.stdout.readline())["state"])
    process.send_signal(signal.SIGINT)
    out, err = await process.communicate()
    assert (process.returncode, out, err) == (0, b"", b"")
    assert states == [{"total": 1}, {"total": 3}, {"total": 6}]


async def test_the_doctor_finds_sound_servers_well(
    new_nodes: NewNodes, tansu: str, postgres_dsn: str
) -> None:
    """Also the embedded broker; the write probe included."""
    nodes = new_nodes(tansu, postgres_dsn)
    node = await nodes.start().serving()
    assert await node.stop() == 0
    told = await spawn(nodes, "doctor", "--write", "--json")
    assert told.code == 0, told.out
    checks = {line["name"]: line for line in told.lines}
    assert {checks[name]["status"] for name in ("log write", "tables", "rights", "clock")} == {"ok"}
    for line in told.lines:
        assert set(line) == {"name", "status", "text", "mend"}
        assert bool(line["mend"]) == (line["status"] != "ok")


async def test_the_doctor_names_what_is_wrong_and_how_to_mend_it(
    new_nodes: NewNodes, apache_kafka: ApacheKafka, postgres_dsn: str
) -> None:
    """A topic that forgets on Apache Kafka, a database that is not there; exit code 1."""
    nodes = new_nodes(apache_kafka.bootstrap, postgres_dsn)
    settings = KafkaSettings(servers=nodes.kafka)
    topic = f"spawn.{nodes.system}.Counter"
    wanted = {
        topic: TopicSettings(partitions=2, compacted=True, max_message_bytes=1_000_000),
        f"spawn.{nodes.system}._schemas": TopicSettings(partitions=1, compacted=True),
    }
    await KafkaAdmin(settings).create(wanted)
    told = await spawn(nodes, "doctor", "--write", "--json", "--postgres-dsn",
                       "postgresql://me:geheim@127.0.0.1:1/x")  # fmt: skip
    assert told.code == 1
    checks = {line["name"]: line for line in told.lines}
    assert checks[f"topic {topic}"]["status"] == "failed"
    assert "cleanup.policy=compact" in checks[f"topic {topic}"]["text"]
    assert "--add-config cleanup.policy=delete" in checks[f"topic {topic}"]["mend"]
    assert "max.message.bytes=1000000" in checks[f"topic {topic}"]["text"]
    assert checks["log write"]["status"] == "ok"
    assert checks["database"]["status"] == "failed"
    assert "geheim" not in told.out + told.err
    shown = await spawn(nodes, "doctor")
    assert f"failed   topic {topic}: " in shown.out
    assert "         mend: " in shown.out
    assert "\x1b" not in shown.out


@pytest.mark.parametrize("command", ["events", "actors", "partitions"])
async def test_reading_on_apache_kafka(
    new_nodes: NewNodes, apache_kafka: ApacheKafka, postgres_dsn: str, command: str
) -> None:
    """The same answers as on the embedded broker."""
    nodes = new_nodes(apache_kafka.bootstrap, postgres_dsn)
    node = await nodes.start().serving()
    async with Client.open(node.url) as client:
        await client.invoke("Counter/a", "add", 5)
    subject = {"events": "Counter/a", "actors": "Counter", "partitions": "Counter"}[command]
    told = await spawn(nodes, command, subject, "--json")
    assert told.code == 0, told.err
    assert len(told.lines) == {"events": 1, "actors": 1, "partitions": 3}[command]
