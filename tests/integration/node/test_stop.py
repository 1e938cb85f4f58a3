"""The planned stop of a real node, and what the next start finds."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from tests.integration.node.log_reading import released_partitions
from tests.integration.node.running import Client, Faulty, NodeProcess, Reply, until
from tests.integration.node.servers import NewNodes
from tests.services.ports import free_port

JOURNAL = Path(__file__).parents[1] / "faults" / "journal.py"
FORCED = -signal.SIGINT  # 130, as `KeptProcess` reads it
SLOW = {"n": 1, "wait_s": 1.0}


async def wait_called(node: NodeProcess, calls: int) -> None:
    """Return once so many calls are under way."""
    wanted = f"spawn_http_requests_in_progress {calls + 1}.0"  # with this question itself
    async with Client.open(node.url) as client:
        deadline = time.monotonic() + 5
        while wanted not in (await client.send("GET", "/metrics")).body.decode():
            assert time.monotonic() < deadline, f"never {wanted}"
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("ignoring", [False, True])
async def test_a_signal_stops_it_in_order(
    tansu: str, postgres_dsn: str, new_nodes: NewNodes, number: signal.Signals, ignoring: bool
) -> None:
    """Calls under way are answered, new ones are not taken, every partition is released, code 0."""
    nodes = new_nodes(tansu, postgres_dsn, JOURNAL)
    node = await nodes.start(ignoring_signals=ignoring).serving()
    async with Client.open(node.url) as client, asyncio.TaskGroup() as tasks:
        slow = tasks.create_task(client.invoke("Journal/a", "append_slowly", SLOW))
        await wait_called(node, 1)
        queued = tasks.create_task(client.invoke("Journal/a", "append", 2))
        await wait_called(node, 2)
        node.send_signal(number)
        await until(lambda: "stopping" in node.text, 5, "the word that it stops")
        try:
            late = await client.invoke("Journal/b", "append", 3)
        except Faulty:
            pass  # it listens no more
        else:
            assert (late.status, late.code) == (503, "draining")
        assert await node.ended(10) == 0, node.text
    assert (slow.result().status, slow.result().json) == (200, 1)
    assert (queued.result().status, queued.result().json) == (200, 2)
    assert "Traceback" not in node.text
    assert await released_partitions(tansu, f"spawn.{nodes.system}.Journal") == 3


async def test_a_second_signal_ends_it_at_once(
    tansu: str, postgres_dsn: str, new_nodes: NewNodes
) -> None:
    """Who signals twice does not wait for calls under way; what was acknowledged is there."""
    nodes = new_nodes(tansu, postgres_dsn, JOURNAL)
    node = await nodes.start().serving()
    async with Client.open(node.url) as client, asyncio.TaskGroup() as tasks:
        assert (await client.invoke("Journal/b", "append", 7)).json == 1
        slow = tasks.create_task(answer_or_none(client, {"n": 1, "wait_s": 30.0}))
        await wait_called(node, 1)
        node.send_signal(signal.SIGTERM)
        await until(lambda: "stopping" in node.text, 5, "the word that it stops")
        began = time.monotonic()
        node.send_signal(signal.SIGTERM)
        assert await node.ended(5) == FORCED, node.text
        print(f"ended {time.monotonic() - began:.2f} s after the second signal")
    reply = slow.result()
    assert reply is None or reply.status in (503, 504)
    assert "Traceback" not in node.text
    node = await nodes.start().serving()
    async with Client.open(node.url) as client:
        assert (await client.state("Journal/b")).json["state"] == {"numbers": [7]}
        assert (await client.state("Journal/a")).json["state"] == {"numbers": []}


async def answer_or_none(client: Client, body: object) -> Reply | None:
    """Call the slow action; None when the connection ends instead."""
    try:
        return await client.invoke("Journal/a", "append_slowly", body)
    except Faulty:
        return None


async def test_calls_that_come_while_it_starts_wait_for_it(
    tansu: str, postgres_dsn: str, new_nodes: NewNodes
) -> None:
    """With a log that exists the port opens early: not ready yet, and yet every call is answered.

    After a kill the start waits out the lease of the node before it, which makes it last.
    """
    nodes = new_nodes(tansu, postgres_dsn)
    port = free_port()
    node = await nodes.start(HTTP_PORT=port, KAFKA_PARTITIONS=16).serving()
    async with Client.open(node.url) as client:
        for index in range(20):
            assert (await client.invoke(f"Counter/a{index}", "add", 1)).json == 1
        await node.kill()
        node = nodes.start(HTTP_PORT=port)
        ready = await first_answer(client, node)
        assert (ready.status, ready.json["ready"]) == (503, False)
        assert any("taking-over" in reason for reason in ready.json["reasons"])
        assert (await client.send("GET", "/health/live")).status == 200
        hasty = await client.invoke("Counter/a0", "add", 1, timeout_ms=1)
        began = time.monotonic()
        calls = [client.invoke(f"Counter/a{index}", "add", 1) for index in range(20)]
        replies = await asyncio.gather(*calls)
        print(f"answered after {time.monotonic() - began:.2f} s of the start")
        assert (hasty.status, hasty.code) == (503, "not-started")
        assert [(reply.status, reply.json) for reply in replies] == [(200, 2)] * 20
        await node.serving()


async def first_answer(client: Client, node: NodeProcess) -> Reply:
    """Ask whether the node is ready until its port is open."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return await client.send("GET", "/health/ready")
        except Faulty:
            assert node.returncode is None, node.text
            assert time.monotonic() < deadline, node.text
            await asyncio.sleep(0.005)


async def test_keys_survive_a_stop_before_the_first_flush(
    tansu: str, postgres_dsn: str, new_nodes: NewNodes
) -> None:
    """A node that is stopped right after its start keeps the keys of a tail it has not loaded."""
    nodes = new_nodes(tansu, postgres_dsn)
    node = await nodes.start(SNAPSHOTS_FLUSH_INTERVAL="1h").serving()
    async with Client.open(node.url) as client:
        first = await client.invoke("Counter/a", "add", 5, key="once")
        assert (first.status, first.json, first.revision) == (200, 5, 1)
    await node.kill()
    node = await nodes.start(SNAPSHOTS_FLUSH_INTERVAL="1h").serving()
    assert await node.stop() == 0
    node = await nodes.start().serving()
    async with Client.open(node.url) as client:
        again = await client.invoke("Counter/a", "add", 5, key="once")
        assert (again.status, again.json, again.revision) == (200, 5, 1)
        assert again.headers["Spawn-Position"] == first.headers["Spawn-Position"]
        assert (await client.state("Counter/a")).json["state"] == {"total": 5}
