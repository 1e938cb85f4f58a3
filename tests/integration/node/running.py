"""A node as a process of its own, and a client for it."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import quote

import aiohttp
from yarl import URL

from tests.services.keeper import KeptProcess
from tests.services.ports import free_port

__all__ = ["COUNTER", "Client", "Faulty", "NodeProcess", "Nodes", "Reply", "until"]

_ROOT = Path(__file__).parents[3]
COUNTER = _ROOT / "examples" / "counter.py"
_POLL_S = 0.02
_START_S = 40.0
_MAIN = "from spawn.cli.main import main; main()"
_IGNORING = ("sh", "-c", 'trap "" INT TERM; exec "$@"', "sh")
"""Runs a command that inherits both signals as ignored, as `nohup` does with another one."""

_numbers = itertools.count()


async def until(condition: Callable[[], Any], within_s: float, what: str) -> Any:
    """Poll until the condition is true; return what it gave. The test fails when it stays false."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        await asyncio.sleep(_POLL_S)
    return found


class Faulty(Exception):
    """No answer came: refused, cut off, or too late; what was asked may have happened."""


class Reply(NamedTuple):
    """One HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as a value."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of a problem; empty for an answer that is none."""
        return str(self.json["code"]) if self.status >= 400 else ""

    @property
    def revision(self) -> int:
        """The actor's revision, from the headers."""
        return int(self.headers["Spawn-Revision"])


class Client:
    """Calls one node."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self._session = session

    @classmethod
    def open(cls, url: str) -> Self:
        """Return a client with connections of its own; close it."""
        return cls(url, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))

    def at(self, url: str) -> Client:
        """Return a client of another node over the same session; only one of them is closed."""
        return Client(url, self._session)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End its connections."""
        await self._session.close()

    async def invoke(
        self,
        actor: str,
        action: str,
        argument: Any = None,
        *,
        key: str | None = None,
        timeout_ms: int | None = None,
    ) -> Reply:
        """Call an action; `actor` is TYPE/ID with the id as it is."""
        actor_type, _, actor_id = actor.partition("/")
        path = f"/v1/actors/{actor_type}/{quote(actor_id, safe='')}/{action}"
        body = b"" if argument is None else json.dumps(argument).encode()
        return await self.send("POST", path, body, key=key, timeout_ms=timeout_ms)

    async def state(self, actor: str, *, timeout_ms: int | None = None) -> Reply:
        """Read an actor's state."""
        actor_type, _, actor_id = actor.partition("/")
        path = f"/v1/actors/{actor_type}/{quote(actor_id, safe='')}"
        return await self.send("GET", path, timeout_ms=timeout_ms)

    async def send(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        key: str | None = None,
        timeout_ms: int | None = None,
    ) -> Reply:
        """Send one request; the path is encoded already. Raises: Faulty."""
        headers = {}
        if key is not None:
            headers["Idempotency-Key"] = key
        if timeout_ms is not None:
            headers["Spawn-Timeout"] = str(timeout_ms)
        wait = aiohttp.ClientTimeout(total=(timeout_ms or 60_000) / 1000 + 5)
        try:
            async with self._session.request(
                method,
                URL(self.url + path, encoded=True),
                data=io.BytesIO(body) if body else None,
                headers=headers,
                timeout=wait,
            ) as response:
                return Reply(response.status, dict(response.headers), await response.read())
        except (aiohttp.ClientError, OSError) as error:
            raise Faulty(repr(error)) from error


class NodeProcess:
    """`spawn run` with settings by environment."""

    def __init__(
        self,
        folder: Path,
        *,
        target: str,
        settings: Mapping[str, object],
        options: tuple[str, ...] = (),
        ignoring_signals: bool = False,
    ) -> None:
        """Start it; `settings` are by variable, without their SPAWN_."""
        self.log = folder / f"node-{next(_numbers)}.log"
        self.started = time.monotonic()
        self.url = f"http://127.0.0.1:{settings.get('HTTP_PORT', 9001)}"
        keep = ("PATH", "HOME", "LANG", "TMPDIR")
        environment = {name: os.environ[name] for name in keep if name in os.environ}
        environment["PYTHONPATH"] = str(_ROOT)
        environment |= {f"SPAWN_{name}": str(value) for name, value in settings.items()}
        command = [sys.executable, "-c", _MAIN, "run", target, *options]
        self._process = KeptProcess(
            [*(_IGNORING if ignoring_signals else ()), *command],
            log=self.log,
            folder=folder,
            environment=environment,
        )
        self.pid = self._process.pid

    @property
    def text(self) -> str:
        """All that it said so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def returncode(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._process.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    async def kill(self) -> None:
        """End it with SIGKILL."""
        await asyncio.to_thread(self._process.kill)

    async def ended(self, within_s: float = 20.0) -> int:
        """Wait for its end; return the exit code."""
        await until(lambda: self.returncode is not None, within_s, f"an end; it said {self.text}")
        return await asyncio.to_thread(self._process.wait, 5.0)

    async def serving(self, within_s: float = _START_S) -> Self:
        """Wait until it says that it is ready."""
        deadline = time.monotonic() + within_s
        async with Client.open(self.url) as client:
            while True:
                try:
                    reply = await client.send("GET", "/health/ready", timeout_ms=2000)
                except Faulty as error:
                    problem = str(error)
                else:
                    if reply.status == 200:
                        return self
                    problem = reply.body.decode()
                assert self.returncode is None, f"it ended with {self.returncode}: {self.text}"
                assert time.monotonic() < deadline, f"not ready: {problem}; it said {self.text}"
                await asyncio.sleep(_POLL_S)

    async def stop(self, number: signal.Signals = signal.SIGTERM, within_s: float = 20.0) -> int:
        """Let it end in order; return the exit code."""
        self.send_signal(number)
        return await self.ended(within_s)

    def close(self) -> None:
        """Leave nothing of it."""
        if self.returncode is None:
            self._process.kill()
        self._process.wait(5.0)  # closes the pipes of one that ended by itself


class Nodes:
    """Starts nodes on given servers; none outlives the test."""

    def __init__(self, folder: Path, kafka: str, dsn: str, target: Path | str = COUNTER) -> None:
        self.folder = folder
        self.kafka = kafka
        self.dsn = dsn
        self.target = target
        self.system = f"t{os.getpid()}-{next(_numbers)}-{time.time_ns() % 10**9}"
        self.settings: dict[str, object] = {
            "KAFKA_PARTITIONS": 3,
            "SNAPSHOTS_FLUSH_INTERVAL": "500ms",
        }
        self._started: list[NodeProcess] = []

    def start(
        self,
        *,
        target: Path | str | None = None,
        options: tuple[str, ...] = (),
        ignoring_signals: bool = False,
        **settings: object,
    ) -> NodeProcess:
        """Start a node on a free port, or with the settings given."""
        every = {
            "SYSTEM": self.system,
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka,
            "POSTGRES_DSN": self.dsn,
            "HTTP_PORT": free_port(),
            **self.settings,
            **settings,
        }
        node = NodeProcess(
            self.folder,
            target=str(target or self.target),
            settings={name: value for name, value in every.items() if value is not None},
            options=options,
            ignoring_signals=ignoring_signals,
        )
        self._started.append(node)
        return node

    def close(self) -> None:
        """Kill what still runs."""
        for node in self._started:
            node.close()
