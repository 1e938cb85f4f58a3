"""Nodes as processes: `spawn run` on the actors of the runs, killed, frozen, stopped, started."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.faults.actors import PLANT
from tests.faults.clock import VARIABLE, Clock
from tests.faults.gate import Gate
from tests.faults.servers import Servers
from tests.services.keeper import KeptProcess
from tests.services.ports import free_port

__all__ = ["Cluster", "Node", "NotInTime"]

_ROOT: Final = Path(__file__).parents[2]
_ACTORS: Final = Path(__file__).with_name("actors.py")
_MAIN: Final = "from spawn.cli.main import main; main()"
_INHERITED: Final = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH")
_ASKED_FOR: Final = (0, -signal.SIGKILL, -signal.SIGTERM)
"""Exit codes of nodes that were told to end; the last one where Python was still starting."""
_POLL_S: Final = 0.05
_ASK_S: Final = 1.0
_START_S: Final = 60.0
_STOP_S: Final = 30.0
_SERVING: Final = re.compile(
    r'^spawn_partition_serving\{[^}]*partition="(\d+)"[^}]*\} 1(?:\.0)?$', re.MULTILINE
)


class NotInTime(Exception):
    """The cluster did not come to a state in the time that it has; the text says to which."""


class Node:
    """One place for a node: its ports stay, its process comes and goes."""

    def __init__(self, name: str, folder: Path, servers: Servers) -> None:
        self.name = name
        self.http_port, self.mesh_port = free_port(), free_port()
        self.log = folder / f"{name}.log"
        self.mesh_gate: Gate | None = None
        """What other nodes reach it through."""
        self._folder = folder
        self._servers = servers
        self._process: KeptProcess | None = None
        self.is_frozen = False
        self.started = 0.0

    @property
    def url(self) -> str:
        """Its HTTP address."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def pid(self) -> int:
        """Of its process, which has to run."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether its process lives, frozen or not."""
        return self._process is not None and self._process.returncode is None

    async def start(
        self, settings: Mapping[str, object], preload: Path | None = None, plant: str = ""
    ) -> None:
        """Start its process, with a planted bug on demand; return at once."""
        assert not self.is_running
        if self._servers.is_gated and self.mesh_gate is None:
            self.mesh_gate = Gate(self.mesh_port, pids=lambda: self._servers.pids)
            await self.mesh_gate.open()
        every: dict[str, object] = {
            "KAFKA_BOOTSTRAP_SERVERS": self._servers.kafka_for(self.name),
            "POSTGRES_DSN": self._servers.dsn_for(self.name),
            "HTTP_PORT": self.http_port,
            "MESH_PORT": self.mesh_port,
            "LOG_FORMAT": "text",
            **settings,
        }
        if self.mesh_gate is not None:
            every["MESH_ADVERTISE"] = f"127.0.0.1:{self.mesh_gate.port}"
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        environment["PYTHONPATH"] = str(_ROOT)
        environment |= {f"SPAWN_{name}": str(value) for name, value in every.items()}
        if preload is not None:
            environment["LD_PRELOAD"] = str(preload)
            environment[VARIABLE] = str(Clock(self._folder / f"{self.name}.clock").file)
            environment["SPAWN_NODE_CLOCK_LIMIT"] = "24h"  # they are to start with wrong clocks
        if plant:
            environment[PLANT] = plant
        self.started = time.monotonic()
        self._process = KeptProcess(
            [sys.executable, "-c", _MAIN, "run", str(_ACTORS)],
            log=self.log,
            folder=self._folder,
            environment=environment,
        )
        self._servers.pids[self.name] = self._process.pid

    async def kill(self) -> float:
        """SIGKILL; return when it was sent."""
        assert self._process is not None
        at = time.monotonic()
        self._process.send_signal(signal.SIGKILL)
        self.is_frozen = False
        await asyncio.to_thread(self._process.wait, 10.0)
        return at

    def freeze(self) -> float:
        """SIGSTOP; return when."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        self.is_frozen = True
        return time.monotonic()

    def thaw(self) -> float:
        """SIGCONT; return when."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
        self.is_frozen = False
        return time.monotonic()

    async def stop(self) -> int:
        """SIGTERM; return the exit code once it has ended."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return await self.ended(_STOP_S)

    async def ended(self, within_s: float) -> int:
        """Wait for its end. Raises: NotInTime."""
        assert self._process is not None
        deadline = time.monotonic() + within_s
        while self.is_running:
            if time.monotonic() > deadline:
                raise NotInTime(f"{self.name} did not end within {within_s:g} s")
            await asyncio.sleep(_POLL_S)
        return await asyncio.to_thread(self._process.wait, 5.0)

    def close(self) -> None:
        """Leave nothing of it."""
        if self.mesh_gate is not None:
            self.mesh_gate.close()
        if self._process is not None:
            if self.is_running:
                self._process.kill()
            self._process.wait(5.0)
        self._servers.pids.pop(self.name, None)

    async def serves(self) -> frozenset[int] | None:
        """Return the partitions that it says it serves; None: it does not answer."""
        page = await self.metrics()
        return None if page is None else frozenset(int(each) for each in _SERVING.findall(page))

    async def metrics(self) -> str | None:
        """Return its page of metrics; None: it does not answer."""
        try:
            async with asyncio.timeout(_ASK_S):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.http_port)
                try:
                    writer.write(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
                    page = (await reader.read()).decode()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return None
        return page.replace("\r\n", "\n")


class Cluster:
    """The nodes of one system on given servers."""

    def __init__(self, servers: Servers, folder: Path, system: str, partitions: int = 16) -> None:
        self.servers = servers
        self.system = system
        self.partitions = partitions
        self.nodes: dict[str, Node] = {}
        self.settings: dict[str, object] = {"SYSTEM": system}
        self.preload: Path | None = None
        """A library that nodes are started with."""
        self.plant = ""
        """A bug that nodes are started with."""
        self._folder = folder

    @property
    def running(self) -> Sequence[Node]:
        """Nodes whose process lives."""
        return [node for node in self.nodes.values() if node.is_running]

    def ports(self) -> dict[str, int]:
        """HTTP ports of all places, those whose process is away too: callers don't know."""
        return {name: node.http_port for name, node in self.nodes.items()}

    async def start(self, *names: str) -> None:
        """Start nodes, new ones or those that were killed or stopped; return at once."""
        for name in names:
            if name not in self.nodes:
                self.nodes[name] = Node(name, self._folder, self.servers)
            await self.nodes[name].start(self.settings, self.preload, self.plant)

    async def owners(self) -> dict[int, str]:
        """Return who serves which partition, as the nodes that answer say."""
        asked = self.running
        served = await asyncio.gather(*(node.serves() for node in asked))
        return {
            partition: node.name
            for node, found in zip(asked, served, strict=True)
            for partition in found or ()
        }

    async def balanced(self, within_s: float = _START_S) -> dict[int, str]:
        """Wait until the running nodes share all partitions evenly. Raises: NotInTime."""
        deadline = time.monotonic() + within_s
        while True:
            found = await self.owners()
            count = len(self.running)
            shares = [list(found.values()).count(node.name) for node in self.running]
            if len(found) == self.partitions and min(shares, default=0) >= self.partitions // count:
                return found
            self.require_running()
            if time.monotonic() > deadline:
                raise NotInTime(
                    f"{count} nodes do not share {self.partitions} partitions within "
                    f"{within_s:g} s: {sorted(found.items())}"
                )
            await asyncio.sleep(_POLL_S)

    def require_running(self, names: Iterable[str] | None = None) -> None:
        """Raise where a node ended that was not asked to. Raises: NotInTime."""
        for name in self.nodes if names is None else names:
            node = self.nodes[name]
            code = None if node._process is None else node._process.returncode
            if code is not None and code not in _ASKED_FOR:
                raise NotInTime(f"{name} ended with {code}: {last_lines(node.log)}")

    async def keep_metrics(self, name: str) -> None:
        """Write what each node tells of itself into a file, for who has to find out."""
        for node in self.running:
            page = await node.metrics() or "no answer\n"
            (self._folder / f"{node.name}-{name}.metrics").write_text(page, encoding="utf-8")

    def close(self) -> None:
        """Kill what still runs."""
        for node in self.nodes.values():
            node.close()


def last_lines(log: Path, count: int = 12) -> str:
    """Return the end of a log."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return "\n".join(text.splitlines()[-count:])
