"""Fixtures: a PostgreSQL and an embedded broker for a whole folder, and nodes on servers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spawn.dev import EmbeddedStack, binaries
from tests.integration.node.running import Nodes
from tests.services.keeper import KeptProcess
from tests.services.ports import free_port

__all__ = ["new_nodes", "postgres_dsn", "tansu"]

_START_S = 30.0

NewNodes = Callable[..., Nodes]


@pytest.fixture(scope="session")
def postgres_dsn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database that nobody disturbs; its event loop has a thread of its own."""
    folder = tmp_path_factory.mktemp("postgres")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="postgres of the tests")
    thread.start()
    try:
        stack = EmbeddedStack(folder, kafka=False, nats=False)
        asyncio.run_coroutine_threadsafe(stack.start(), loop).result(_START_S)
        yield stack.postgres_dsn
        asyncio.run_coroutine_threadsafe(stack.close(), loop).result(_START_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(scope="session")
def tansu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an embedded broker, which starts in 50 ms."""
    address = f"127.0.0.1:{free_port()}"
    broker = start_tansu(tmp_path_factory.mktemp("tansu"), address)
    yield address
    broker.kill()


def start_tansu(folder: Path, address: str) -> KeptProcess:
    """Start an embedded broker with an empty log."""
    url = f"tcp://{address}"
    command = [str(binaries.tansu()), "broker", "--storage-engine", "memory://tansu/"]
    command += ["--listener-url", url, "--advertised-listener-url", url]
    broker = KeptProcess(command, log=folder / "tansu.log")
    host, port = address.split(":")
    deadline = time.monotonic() + _START_S
    while True:
        with contextlib.suppress(OSError):
            socket.create_connection((host, int(port)), timeout=1).close()
            return broker
        assert time.monotonic() < deadline, "the embedded broker does not listen"
        time.sleep(0.02)


@pytest.fixture
def new_nodes(tmp_path: Path) -> Iterator[NewNodes]:
    """Make starters of nodes: `new_nodes(kafka, dsn)`; at the end of the test all are killed."""
    made: list[Nodes] = []

    def make(kafka: str, dsn: str, target: Path | str | None = None) -> Nodes:
        nodes = (
            Nodes(tmp_path, kafka, dsn) if target is None else Nodes(tmp_path, kafka, dsn, target)
        )
        made.append(nodes)
        return nodes

    yield make
    for nodes in made:
        nodes.close()
