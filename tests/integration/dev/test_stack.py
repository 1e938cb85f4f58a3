"""The embedded stack with its real servers and their usual clients."""

import asyncio
import contextlib
import os
import signal
import socket
import stat
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import nats
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from spawn.dev import (
    EmbeddedStack,
    FolderInUse,
    PartFailed,
    PartName,
    StackError,
    rss_bytes,
)
from spawn.dev import stack as stack_module
from spawn.dev.parts import PART_NAMES
from spawn.dev.ports import HOST, is_port_taken, pick_port
from spawn.dev.probes import kafka_cluster_id, nats_server_name


@contextlib.asynccontextmanager
async def database(stack: EmbeddedStack) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """Connect as a user of the stack would."""
    connection = await asyncpg.connect(stack.postgres_dsn, timeout=5)
    try:
        yield connection
    finally:
        connection.terminate()


async def produce(stack: EmbeddedStack, topic: str, value: bytes) -> int:
    """Append one record to partition 0 and return its offset."""
    producer = AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap, acks="all")
    await producer.start()
    try:
        return int((await producer.send_and_wait(topic, value, partition=0)).offset)
    finally:
        await producer.stop()


def socket_folder(stack: EmbeddedStack) -> Path:
    """Return the folder with the database's socket."""
    return Path(parse_qs(urlsplit(stack.postgres_dsn).query)["host"][0])


def listeners(port: int) -> set[str]:
    """Return the local addresses that listen on a TCP port, as the kernel writes them."""
    lines = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    local = [fields[1].rpartition(":") for fields in lines if fields[3] == "0A"]
    return {address for address, _, hex_port in local if int(hex_port, 16) == port}


async def test_all_parts_serve_their_clients(tmp_path: Path) -> None:
    """After the start each address works with the usual client library."""
    async with EmbeddedStack(tmp_path / "data") as stack:
        async with database(stack) as connection:
            assert await connection.fetchval("select 1") == 1
            assert await connection.fetchval("show fsync") == "on"
        assert await produce(stack, "topic", b"value") == 0
        client = await nats.connect(stack.nats_url)
        await client.flush()
        await client.close()
        assert set(stack.endpoints.pids) == {"kafka", "postgres", "nats", "supervisor"}
        memory = rss_bytes(stack.pid("kafka"))
        assert memory is not None
        assert memory > 1 << 20
    assert stack.endpoints.logs["kafka"].read_text()


async def test_nothing_is_reachable_from_outside(tmp_path: Path) -> None:
    """Servers listen on 127.0.0.1 only; the database on no port, in a folder of mode 0700."""
    async with EmbeddedStack(tmp_path / "data") as stack:
        for address in (stack.kafka_bootstrap, stack.nats_url):
            assert listeners(int(address.rpartition(":")[2])) == {"0100007F"}
        assert stat.S_IMODE(socket_folder(stack).stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / "data" / "pg").stat().st_mode) == 0o700
        async with database(stack) as connection:
            assert await connection.fetchval("show listen_addresses") == ""


async def test_one_part_alone(tmp_path: Path) -> None:
    """A part that was not asked for is not there, and asking for it says so."""
    async with EmbeddedStack(tmp_path / "data", kafka=False, nats=False) as stack:
        assert stack.endpoints.kafka_bootstrap is None
        assert set(stack.endpoints.pids) == {"postgres", "supervisor"}
        with pytest.raises(StackError, match="this stack has no kafka"):
            _ = stack.kafka_bootstrap
        with pytest.raises(StackError, match="this stack has no nats"):
            await stack.restart("nats")


async def test_the_database_keeps_its_data(tmp_path: Path) -> None:
    """Rows are there after a stop, after SIGKILL, and in the next stack on the same folder."""
    async with EmbeddedStack(tmp_path / "data", kafka=False, nats=False) as stack:
        async with database(stack) as connection:
            await connection.execute("create table t as select 42 as n")
        await stack.restart("postgres")
        async with database(stack) as connection:
            assert await connection.fetchval("select n from t") == 42
            await connection.execute("insert into t values (43)")
        await stack.kill("postgres")
        await stack.restart("postgres")
        dsn = stack.postgres_dsn
    async with EmbeddedStack(tmp_path / "data", kafka=False, nats=False) as stack:
        async with database(stack) as connection:
            assert await connection.fetchval("select sum(n) from t") == 85
        assert stack.postgres_dsn == dsn


async def test_the_broker_is_empty_after_a_restart(tmp_path: Path) -> None:
    """The log is in memory: same address, nothing in it, and another cluster id tells so."""
    async with EmbeddedStack(tmp_path / "data", postgres=False, nats=False) as stack:
        port = int(stack.kafka_bootstrap.rpartition(":")[2])
        assert [await produce(stack, "topic", b"x") for _ in range(2)] == [0, 1]
        cluster_id = await kafka_cluster_id(port)
        await stack.restart("kafka")
        assert stack.kafka_bootstrap == f"{HOST}:{port}"
        assert await kafka_cluster_id(port) != cluster_id
        assert await produce(stack, "topic", b"x") == 0


async def test_stopping_is_quick_with_clients_connected(tmp_path: Path) -> None:
    """A connected consumer and an open transaction do not hold up the end."""
    stack = EmbeddedStack(tmp_path / "data", nats=False)
    await stack.start()
    await produce(stack, "topic", b"x")
    consumer = AIOKafkaConsumer("topic", bootstrap_servers=stack.kafka_bootstrap)
    await consumer.start()
    try:
        async with database(stack) as connection:
            await connection.execute("begin; create table t (n int)")
            # Both give way to their stop signal; the grace would be 2 s.
            async with asyncio.timeout(1.5):
                await stack.close()
    finally:
        await stack.close()
        # Without its broker aiokafka cancels the caller of stop.
        with contextlib.suppress(asyncio.CancelledError):
            await consumer.stop()


async def test_freeze_and_thaw(tmp_path: Path) -> None:
    """A frozen part accepts nothing and goes on where it was: connections and data stay."""
    async with EmbeddedStack(tmp_path / "data") as stack:
        port = int(stack.kafka_bootstrap.rpartition(":")[2])
        cluster_id = await kafka_cluster_id(port)
        async with database(stack) as connection:
            await connection.execute("create temporary table t as select 1 as n")
            for name in PART_NAMES:
                await stack.freeze(name)
            with pytest.raises(TimeoutError):
                await connection.fetchval("select n from t", timeout=0.3)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await kafka_cluster_id(port)
            for name in PART_NAMES:
                await stack.thaw(name)
            assert await kafka_cluster_id(port) == cluster_id
        async with database(stack) as connection:
            assert await connection.fetchval("select 1") == 1


async def test_a_frozen_part_can_be_stopped(tmp_path: Path) -> None:
    """The stop signal reaches a frozen part too."""
    async with EmbeddedStack(tmp_path / "data", kafka=False, nats=False) as stack:
        await stack.freeze("postgres")
        async with asyncio.timeout(1.9):
            await stack.stop("postgres")


@pytest.mark.parametrize("name", ["kafka", "postgres", "nats"])
async def test_a_death_is_told(tmp_path: Path, name: PartName) -> None:
    """A server that ends by itself is told with how it ended; one that was stopped is not."""
    async with EmbeddedStack(
        tmp_path / "data",
        kafka=name == "kafka",
        postgres=name == "postgres",
        nats=name == "nats",
    ) as stack:
        await stack.restart(name)
        pid = stack.pid(name)
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(5):
            died = await stack.next_death()
        assert (died.name, died.pid, died.reason) == (name, pid, "was ended by SIGKILL")
        assert died.last_lines
        assert name not in stack.endpoints.pids
        with pytest.raises(StackError, match=f"{name} does not run"):
            stack.pid(name)
        await stack.restart(name)
        assert stack.pid(name) != pid


async def test_the_death_of_the_supervisor_is_told(tmp_path: Path) -> None:
    """It takes all servers with it; what is asked of it afterwards fails at once."""
    async with EmbeddedStack(tmp_path / "data", postgres=False) as stack:
        os.kill(stack.endpoints.pids["supervisor"], signal.SIGKILL)
        async with asyncio.timeout(5):
            died = await stack.next_death()
        assert died.name == "supervisor"
        with pytest.raises(StackError, match="supervisor process has ended"):
            await stack.restart("kafka")


async def test_two_stacks_at_once(tmp_path: Path) -> None:
    """Stacks on different folders start at the same moment and share nothing."""
    one, two = (EmbeddedStack(tmp_path / name) for name in ("one", "two"))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(one.start())
        tasks.create_task(two.start())
    try:
        assert one.kafka_bootstrap != two.kafka_bootstrap
        assert one.nats_url != two.nats_url
        async with database(one) as first, database(two) as second:
            await first.execute("create table only_one (n int)")
            assert await second.fetchval("select to_regclass('only_one')") is None
        await produce(one, "topic", b"x")
        await produce(one, "topic", b"x")
        assert await produce(two, "topic", b"x") == 0
    finally:
        await one.close()
        await two.close()


async def test_one_folder_serves_one_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second stack on the folder is refused, by the first one's process id."""
    monkeypatch.setattr(stack_module, "_LOCK_WAIT_S", 0.2)
    async with EmbeddedStack(tmp_path / "data", kafka=False, postgres=False) as stack:
        with pytest.raises(FolderInUse, match=f"of process {os.getpid()}, uses") as refused:
            await EmbeddedStack(tmp_path / "data").start()
        assert refused.value.at == str(tmp_path / "data")
        assert await nats_server_name(int(stack.nats_url.rpartition(":")[2]))
    async with EmbeddedStack(tmp_path / "data", kafka=False, postgres=False):
        pass


@pytest.mark.parametrize("owner", ["somebody else", "a zombie", "unreadable"])
async def test_stale_locks_of_the_database(tmp_path: Path, owner: str) -> None:
    """The locks of a killed server do not count, also when their pid is another process's now."""
    data = tmp_path / "data"
    async with EmbeddedStack(data, kafka=False, nats=False) as stack:
        await stack.kill("postgres")
        with subprocess.Popen(["true"]) as zombie:
            # Ended and not collected.
            os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
            # Our own pid: alive, of the same user, and no database server.
            pid = {"somebody else": os.getpid(), "a zombie": zombie.pid}.get(owner, "nonsense")
            for lock in (
                data / "pg" / "postmaster.pid",
                socket_folder(stack) / ".s.PGSQL.5432.lock",
            ):
                _, _, rest = lock.read_text().partition("\n")
                lock.write_text(f"{pid}\n{rest}")
            await stack.restart("postgres")
        async with database(stack) as connection:
            assert await connection.fetchval("select 1") == 1


async def test_an_interrupted_initdb_is_done_again(tmp_path: Path) -> None:
    """What a killed first start left behind is no database."""
    half = tmp_path / "data" / "pg.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    async with EmbeddedStack(tmp_path / "data", kafka=False, nats=False) as stack:
        async with database(stack) as connection:
            assert await connection.fetchval("select 1") == 1
    assert not half.exists()


@pytest.mark.parametrize(
    "folder", ["long/" + "x" * 120, "a space, a comma", "fünf 'Zeichen' 漢字", 'q"uote']
)
async def test_any_folder_will_do(tmp_path: Path, folder: str) -> None:
    """Too long a path for a socket, or one that lists can't hold, has its socket elsewhere."""
    async with EmbeddedStack(tmp_path / folder, kafka=False, nats=False) as stack:
        async with database(stack) as connection:
            assert await connection.fetchval("select 1") == 1
        place = socket_folder(stack)
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        assert len(os.fsencode(place)) <= 107 - len("/.s.PGSQL.5432")
    # Always the same place, so that killed stacks do not litter.
    async with EmbeddedStack(tmp_path / folder, kafka=False, nats=False) as stack:
        assert socket_folder(stack) == place
    if not place.is_relative_to(tmp_path):
        place.rmdir()


async def test_the_users_environment_has_no_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables and files that servers or clients would read do not change the stack."""
    for name in ("PGPORT", "PGDATA", "CLUSTER_ID", "LISTENER_URL", "LC_ALL"):
        monkeypatch.setenv(name, "nonsense" if name != "PGPORT" else "1")
    (tmp_path / ".env").write_text("SCHEMA_REGISTRY=nonsense\nAUTHENTICATION=true\n")
    monkeypatch.chdir(tmp_path)
    async with EmbeddedStack(Path("data")) as stack:
        assert stack.endpoints.data_folder.is_absolute()
        async with database(stack) as connection:
            assert await connection.fetchval("select 1") == 1
        assert await produce(stack, "topic", b"x") == 0


async def test_a_taken_port_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When somebody takes the chosen port first, another one is used."""
    with socket.create_server((HOST, 0)) as taken:
        ports = iter([taken.getsockname()[1], pick_port()])
        monkeypatch.setattr(stack_module, "pick_port", lambda: next(ports))
        async with EmbeddedStack(tmp_path / "data", postgres=False, nats=False) as stack:
            assert stack.kafka_bootstrap != f"{HOST}:{taken.getsockname()[1]}"
            assert await produce(stack, "topic", b"x") == 0


async def test_another_stacks_server_is_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two stacks with the same port, the second does not take the first one's server for its."""
    async with EmbeddedStack(tmp_path / "one", postgres=False) as one:
        taken = [int(url.rpartition(":")[2]) for url in (one.kafka_bootstrap, one.nats_url)]
        ports = iter([*taken, *(pick_port() for _ in range(2))])
        monkeypatch.setattr(stack_module, "pick_port", lambda: next(ports))
        async with EmbeddedStack(tmp_path / "two", postgres=False) as two:
            assert one.kafka_bootstrap != two.kafka_bootstrap
            assert one.nats_url != two.nats_url


async def test_a_taken_port_at_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restart keeps its port or says who stands in the way; it never moves."""
    monkeypatch.setattr(stack_module, "_SAME_PORT_WAIT_S", 0.3)
    async with EmbeddedStack(tmp_path / "data", kafka=False, postgres=False) as stack:
        port = int(stack.nats_url.rpartition(":")[2])
        await stack.kill("nats")
        with socket.create_server((HOST, port)):
            assert is_port_taken(port)
            with pytest.raises(PartFailed, match=rf"nats found its port {HOST}:{port} taken"):
                await stack.restart("nats")
        await stack.restart("nats")
        assert await nats_server_name(port)
