"""What a node says that can't start: the thing, the mend, an exit code; never a traceback."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import asyncpg
import pytest

from eventstore.codec import ClaimBody, encode_claim_body
from eventstore.kafka_log import KafkaAdmin, KafkaLog, KafkaSettings
from eventstore.log import LogRecord, TopicPartition, TopicSettings
from eventstore.records import NO_CLAIM, Claim, encode_claim
from tests.integration.node.running import Client, NodeProcess, Nodes, until
from tests.integration.node.servers import NewNodes, start_tansu
from tests.services.ports import free_port

FAILED, USAGE, UNREACHABLE = 1, 2, 5


async def refused(node: NodeProcess, exit_code: int, code: str, *words: str) -> None:
    """The node ends with that exit code; it says the code and the words, and no traceback."""
    assert await node.ended(30) == exit_code, node.text
    assert f"[{code}]" in node.text
    for word in words:
        assert word in node.text, (word, node.text)
    assert "Traceback" not in node.text
    assert "please report" not in node.text


async def test_broker_or_database_are_not_there(
    tansu: str, postgres_dsn: str, new_nodes: NewNodes, tmp_path: Path
) -> None:
    """The address and how long it waited are named."""
    nodes = new_nodes(tansu, postgres_dsn)
    nobody = f"127.0.0.1:{free_port()}"
    nodes.settings["NODE_START_WAIT"] = "1s"
    away = nodes.start(KAFKA_BOOTSTRAP_SERVERS=nobody)
    no_server = nodes.start(POSTGRES_DSN=f"postgresql://me:secret@{nobody}/db")
    no_database = nodes.start(POSTGRES_DSN=postgres_dsn.replace("/postgres?", "/nothing?"))
    no_folder = nodes.start(POSTGRES_DSN=f"postgresql:///db?host={tmp_path}")
    await refused(away, UNREACHABLE, "log-unreachable", nobody, "1 s")
    await refused(no_server, UNREACHABLE, "store-unreachable", nobody, "1 s")
    assert "secret" not in no_server.text
    await refused(no_folder, UNREACHABLE, "store-unreachable", str(tmp_path), "1 s")
    await refused(no_database, FAILED, "start-refused", '"nothing"', "SPAWN_POSTGRES_DSN")


async def test_a_signal_ends_a_node_that_waits_for_its_broker(
    tansu: str, postgres_dsn: str, new_nodes: NewNodes
) -> None:
    """It is not held up by what is not there."""
    node = new_nodes(tansu, postgres_dsn).start(
        KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}", NODE_START_WAIT="1m"
    )
    await until(lambda: "calls between systems" in node.text, 15, "the start")
    began = time.monotonic()
    node.send_signal(signal.SIGTERM)
    assert await node.ended(5) == 0, node.text
    print(f"ended {time.monotonic() - began:.2f} s after the signal")


async def test_the_target_can_not_be_used(
    tansu: str, postgres_dsn: str, new_nodes: NewNodes, tmp_path: Path
) -> None:
    """Missing, with a syntax error, with an import that fails, without actors: it says which."""
    texts = {
        "broken": ("def broken(:\n", "broken.py:1"),
        "importing": ("import nothing_of_this_name\n", "nothing_of_this_name"),
        "raising": ("x = 1\nraise ValueError('on purpose')\n", "raising.py:2"),
        "empty": ("x = 1\n", "no actors"),
        "missing": (None, "missing.py is not a file"),
    }
    nodes = new_nodes(tansu, postgres_dsn)
    started = []
    for name, (text, word) in texts.items():
        target = tmp_path / f"{name}.py"
        if text is not None:
            target.write_text(text)
        started.append((nodes.start(target=target), name, word))
    for node, name, word in started:
        await refused(node, FAILED, "invalid-target", f"{name}.py", word)


async def test_settings_are_refused_all_at_once(
    tansu: str, postgres_dsn: str, new_nodes: NewNodes
) -> None:
    """Every wrong one is named with the place where it was set."""
    node = new_nodes(tansu, postgres_dsn).start(
        KAFKA_BOOTSTRAP_SERVERS="nowhere", POSTGRES_DSN=None, HTTP_PORT="70000"
    )
    variables = ("SPAWN_KAFKA_BOOTSTRAP_SERVERS", "SPAWN_POSTGRES_DSN", "SPAWN_HTTP_PORT")
    await refused(node, USAGE, "invalid-settings", *variables)


async def test_the_port_is_taken(tansu: str, postgres_dsn: str, new_nodes: NewNodes) -> None:
    """A node started twice by mistake ends, and the first one is not disturbed."""
    nodes = new_nodes(tansu, postgres_dsn)
    port = free_port()
    first = await nodes.start(HTTP_PORT=port).serving()
    async with Client.open(first.url) as client:
        assert (await client.invoke("Counter/a", "add", 1)).json == 1
        for host in ("127.0.0.1", "localhost"):
            second = nodes.start(HTTP_PORT=port, HTTP_HOST=host)
            await refused(second, FAILED, "port-taken", str(port), "SPAWN_HTTP_PORT")
        await asyncio.sleep(2.5)  # it looks once a second whether it was fenced
        assert first.returncode is None, first.text
        assert (await client.invoke("Counter/a", "add", 1)).json == 2
    other = new_nodes(tansu, postgres_dsn).start(HTTP_PORT=port)
    await refused(other, FAILED, "port-taken", str(port))


async def test_nothing_is_there_and_nothing_may_be_made(
    tansu: str, postgres_dsn: str, new_nodes: NewNodes
) -> None:
    """With --no-create a missing topic is named, and the command that makes it."""
    nodes = new_nodes(tansu, postgres_dsn)
    node = nodes.start(options=("--no-create",))
    await refused(node, FAILED, "start-refused", ".Counter", "spawn init")
    # The topics are there, the tables are not.
    await fill(nodes, 1)
    nodes.dsn = await new_database(postgres_dsn)
    node = nodes.start(options=("--no-create",))
    await refused(node, FAILED, "start-refused", "spawn init", "SPAWN_POSTGRES_DSN")


async def test_the_topic_belongs_to_somebody_else(
    tansu: str, postgres_dsn: str, new_nodes: NewNodes
) -> None:
    """The first record tells: a claim of another system, or nothing of ours at all."""
    claim = Claim(bytes(15) + b"c", 1, NO_CLAIM, bytes(15) + b"l")
    body = encode_claim_body(ClaimBody("somebody", bytes(16), "http://there", "start"))
    values = (encode_claim(claim, body), b"hello")
    words = ("'somebody'", "no Spawn system")
    settings = KafkaSettings(servers=tansu)
    log, admin = KafkaLog(settings), KafkaAdmin(settings)
    try:
        for value, word in zip(values, words, strict=True):
            nodes = new_nodes(tansu, postgres_dsn)
            topic = f"spawn.{nodes.system}.Counter"
            await admin.create({topic: TopicSettings(partitions=3)})
            await log.append(TopicPartition(topic, 1), [LogRecord(None, value)], 0)
            await refused(nodes.start(), FAILED, "foreign-log", word, topic, "SPAWN_SYSTEM")
    finally:
        await log.close()


async def fill(nodes: Nodes, commands: int) -> None:
    """Let a node do some commands and stop: everything is in the store."""
    node = await nodes.start(KAFKA_PARTITIONS=1).serving()
    async with Client.open(node.url) as client:
        for _ in range(commands):
            assert (await client.invoke("Counter/a", "add", 1)).status == 200
    assert await node.stop() == 0


@pytest.mark.parametrize("commands", [0, 20])
async def test_the_snapshots_are_of_another_log(
    tansu: str, postgres_dsn: str, new_nodes: NewNodes, tmp_path: Path, commands: int
) -> None:
    """A log that began anew is never mixed with old snapshots, however long it is by now."""
    nodes = new_nodes(tansu, postgres_dsn)
    await fill(nodes, 5)
    address = f"127.0.0.1:{free_port()}"
    broker = start_tansu(tmp_path, address)
    try:
        nodes.kafka = address
        if commands:
            other = new_nodes(address, await new_database(postgres_dsn))
            other.system = nodes.system
            await fill(other, commands)
        node = nodes.start(KAFKA_PARTITIONS=1)
        await refused(node, FAILED, "foreign-log", "SPAWN_POSTGRES_DSN")
    finally:
        broker.kill()


async def new_database(dsn: str) -> str:
    """Make an empty database beside the one of `dsn`; return its address."""
    name = f"other{time.time_ns()}"
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        await connection.execute(f"create database {name}")
    finally:
        connection.terminate()
    return dsn.replace("/postgres?", f"/{name}?")
