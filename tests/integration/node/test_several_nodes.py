"""What nodes of one system tell of each other: over HTTP, by commands, to clients."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from examples.counter import Counter
from spawn import Client
from tests.integration.node.commands import spawn
from tests.integration.node.commands import start as start_command
from tests.integration.node.running import Client as Caller
from tests.integration.node.running import NodeProcess, Nodes, until
from tests.integration.node.servers import NewNodes
from tests.services.apache_kafka import ApacheKafka

PARTITIONS = 6
SHARED_S = 30.0


async def eventually(look: Callable[[], Awaitable[Any]], what: str) -> Any:
    """Wait until `look` returns something true; return it."""
    try:
        async with asyncio.timeout(SHARED_S):
            while not (found := await look()):
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"not within {SHARED_S:g} s: {what}") from None
    return found


async def asked(node: NodeProcess, path: str) -> Any:
    """Return what a node answers to GET."""
    async with Caller.open(node.url) as client:
        return (await client.send("GET", path, timeout_ms=5000)).json


async def start(nodes: Nodes, count: int) -> list[NodeProcess]:
    """Start nodes and wait until each has its share, in the eyes of all of them."""
    nodes.settings["KAFKA_PARTITIONS"] = PARTITIONS
    started = [await nodes.start().serving() for _ in range(count)]

    async def shared() -> bool:
        told = [await asked(node, "/v1/nodes") for node in started]
        shares = [[each["partitions"] for each in one["nodes"]] for one in told]
        least, most = PARTITIONS // count, -(-PARTITIONS // count)
        return all(
            sum(each) == PARTITIONS and len(each) == count
            and least <= min(each) and max(each) <= most
            for each in shares
        )  # fmt: skip

    await eventually(shared, "an even share for each node")
    return started


async def test_each_node_tells_of_all_of_them(
    new_nodes: NewNodes, apache_kafka: ApacheKafka, postgres_dsn: str
) -> None:
    """The same nodes and owners, itself first; a forwarded call's answer says who owns."""
    nodes = new_nodes(apache_kafka.bootstrap, postgres_dsn)
    started = await start(nodes, 2)
    told = [await asked(node, "/v1/nodes") for node in started]
    assert [each["nodes"][0]["http"] for each in told] == [node.url for node in started]
    assert [[each["is_self"] for each in one["nodes"]] for one in told] == [[True, False]] * 2
    assert {each["standing"] for one in told for each in one["nodes"]} == {"serving"}
    ids = {each["http"]: each["id"] for each in told[0]["nodes"]}
    assert ids == {each["http"]: each["id"] for each in told[1]["nodes"]}

    first, second = [(await asked(node, "/v1/partitions"))["partitions"] for node in started]
    assert [line["owner"] for line in first] == [line["owner"] for line in second]
    for line, other in zip(first, second, strict=True):
        is_firsts = line["http"] == started[0].url
        assert (line.get("phase"), other.get("phase")) == (
            ("active", None) if is_firsts else (None, "active")
        )
    slim = await asked(started[0], "/v1/owners")
    topic = f"spawn.{nodes.system}.Counter"
    owners = [slim["nodes"][number]["id"] for number in slim["owners"][topic]]
    assert owners == [line["owner"] for line in first]

    hints = set()
    async with Caller.open(started[0].url) as client:
        for n in range(20):
            reply = await client.invoke(f"Counter/{n}", "add", 1)
            partition = int(reply.headers["Spawn-Position"].partition("@")[0].rpartition("/")[2])
            hint = reply.headers.get("Spawn-Owner")
            assert hint == (None if owners[partition] == ids[client.url] else started[1].url)
            hints.add(hint)
        live = await client.send("GET", "/health/live")
        metrics = (await client.send("GET", "/metrics")).body.decode()
    assert hints == {None, started[1].url}
    assert live.headers["Spawn-Node"] == ids[started[0].url]
    for line in ('spawn_nodes{standing="serving"} 2.0', "spawn_group_leader 1.0"):
        assert line in metrics
    assert "spawn_forwarded_commands_total 0.0" not in metrics


async def test_commands_show_the_nodes_and_watch_partitions_move(
    new_nodes: NewNodes, apache_kafka: ApacheKafka, postgres_dsn: str
) -> None:
    """Through any node; another one if that ends; from the roll if none answers."""
    nodes = new_nodes(apache_kafka.bootstrap, postgres_dsn)
    started = await start(nodes, 2)
    first, second = started
    shown = await spawn(nodes, "nodes", "--url", first.url)
    assert shown.code == 0, shown.err
    titles, own, other = shown.out.splitlines()
    assert titles.split() == [
        "node", "standing", "for", "partitions", "http", "mesh", "release",
    ]  # fmt: skip
    assert own.startswith("*")
    assert first.url in own
    assert second.url in other
    listed = await spawn(nodes, "nodes", "--url", second.url, "--json")
    assert [line["is_self"] for line in listed.lines] == [True, False]
    of_type = await spawn(nodes, "partitions", "Countr", "--watch", "--url", first.url)
    assert (of_type.code, "did you mean `Counter`?" in of_type.err) == (4, True)

    watching = await start_command(
        nodes, "partitions", "Counter", "--watch", "--json", "--url", first.url
    )
    assert watching.stdout is not None
    lines = [json.loads(await watching.stdout.readline()) for _ in range(PARTITIONS)]
    assert {line["http"] for line in lines} == {first.url, second.url}
    owners = {line["partition"]: line["http"] for line in lines}
    assert await first.stop() == 0  # the one that is asked
    async with asyncio.timeout(20):
        while set(owners.values()) != {second.url}:
            change = json.loads(await watching.stdout.readline())
            owners[change["partition"]] = change["http"]
            assert change["time"].endswith("Z")
    watching.terminate()
    await watching.communicate()

    # The named node is gone, another one on the roll answers.
    through = await spawn(nodes, "nodes", "--url", first.url, "--json")
    assert through.code == 0, through.err
    answering = through.lines[0]
    assert (answering["http"], answering["partitions"]) == (second.url, PARTITIONS)
    assert second.url in through.err
    await second.kill()
    roll = await spawn(nodes, "nodes", "--url", first.url, "--json")
    assert "no node answers: this is the roll" in roll.err
    assert [(line["http"], line["standing"]) for line in roll.lines] == [(second.url, None)]


async def test_a_client_loses_no_call_and_doubles_none_when_nodes_die_and_leave(
    new_nodes: NewNodes, apache_kafka: ApacheKafka, postgres_dsn: str
) -> None:
    """SIGKILL of the node whose address it was given, a planned stop of another one, under load."""
    nodes = new_nodes(apache_kafka.bootstrap, postgres_dsn)
    started = await start(nodes, 3)
    replies: dict[str, list[int]] = {f"c{n}": [] for n in range(12)}
    slowest_s = 0.0
    enough = asyncio.Event()
    now = asyncio.get_running_loop().time

    async def load(client: Client, actor_id: str) -> None:
        nonlocal slowest_s
        counter = client.actor(Counter, actor_id)
        while not enough.is_set():
            began = now()
            replies[actor_id].append(await counter.add.options(timeout_s=20)(1))
            slowest_s = max(slowest_s, now() - began)

    async def answered(more: int) -> None:
        wanted = [len(told) + more for told in replies.values()]
        enough_each = lambda: all(  # noqa: E731
            len(told) >= least for told, least in zip(replies.values(), wanted, strict=True)
        )
        await until(enough_each, 40.0, "load at every actor")

    async with Client(started[0].url) as client:
        async with asyncio.TaskGroup() as tasks:
            for actor_id in replies:
                tasks.create_task(load(client, actor_id))
            await answered(30)
            forwarded = await counted(started, "spawn_forwarded_commands_total")
            before = sum(map(len, replies.values()))
            await answered(30)
            calls = sum(map(len, replies.values())) - before
            passed_on = await counted(started, "spawn_forwarded_commands_total") - forwarded
            assert passed_on < calls / 10, f"{passed_on} of {calls} were sent to another node first"

            slowest_s = 0.0
            await started[0].kill()
            await answered(20)
            print(f"the slowest call around the kill took {slowest_s:.2f} s")
            assert await started[1].stop() == 0
            await answered(20)
            enough.set()
        for actor_id, told in replies.items():
            assert told == list(range(1, len(told) + 1)), actor_id
            assert await client.actor(Counter, actor_id).total() == len(told)


async def counted(nodes: list[NodeProcess], metric: str) -> float:
    """Return a counter, summed over nodes."""
    total = 0.0
    for node in nodes:
        async with Caller.open(node.url) as client:
            page = (await client.send("GET", "/metrics")).body.decode()
        total += sum(float(value) for value in re.findall(rf"(?m)^{metric} (\S+)$", page))
    return total


async def test_a_client_gives_up_a_node_that_hangs(
    new_nodes: NewNodes, apache_kafka: ApacheKafka, postgres_dsn: str
) -> None:
    """SIGSTOP: its connections stay open, so the others have to say that it does not answer."""
    nodes = new_nodes(apache_kafka.bootstrap, postgres_dsn)
    started = await start(nodes, 3)
    async with Client(started[0].url) as client:
        counters = [client.actor(Counter, f"c{n}") for n in range(12)]
        for total in (1, 2):  # with the second round, owners are known
            assert [await each.add(1) for each in counters] == [total] * 12
            await asyncio.sleep(1)
        started[0].send_signal(signal.SIGSTOP)
        now = asyncio.get_running_loop().time
        began = now()
        told = await asyncio.gather(*(each.add.options(timeout_s=30)(1) for each in counters))
        print(f"all answered {now() - began:.2f} s after a node hung")
        assert told == [3] * 12
        started[0].send_signal(signal.SIGCONT)
        assert [await each.add(1) for each in counters] == [4] * 12
