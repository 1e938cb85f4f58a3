"""The peers as running systems: Restate with its counter, and DBOS's workflow in a process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Sequence
from typing import Final

import aiohttp

from bench.http_load import until_listening
from bench.peers.environment import HERE, RESTATE_SERVER, peer_program
from tests.services.ports import free_port

__all__ = ["Workflows", "dbos_workflows", "restate_ingress"]

_LINE_BYTES_MAX: Final = 64 * 1024 * 1024
_STOP_S: Final = 10.0


@contextlib.asynccontextmanager
async def restate_ingress(*, fsync: bool) -> AsyncIterator[int]:
    """Run Restate's server and the counter's service; give the port of its ingress.

    `fsync`: as it is by default, each batch of its write-ahead logs synced to the disk. Without, it
    is as durable as Kafka with default settings: safe against a killed process only.
    """
    service, fabric, ingress, admin = (free_port() for _ in range(4))
    without = json.dumps(not fsync)
    environment = {
        **os.environ,
        "RESTATE_DISABLE_TELEMETRY": "true",
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_BIND_IP": "127.0.0.1",
        "RESTATE_BIND_PORT": str(fabric),
        "RESTATE_INGRESS__BIND_PORT": str(ingress),
        "RESTATE_ADMIN__BIND_PORT": str(admin),
        "RESTATE_BIFROST__LOCAL__ROCKSDB_DISABLE_WAL_FSYNC": without,
        "RESTATE_LOG_SERVER__ROCKSDB_DISABLE_WAL_FSYNC": without,
        "RESTATE_METADATA_SERVER__ROCKSDB_DISABLE_WAL_FSYNC": without,
    }
    hypercorn = peer_program("hypercorn")
    async with contextlib.AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        serving = await asyncio.create_subprocess_exec(
            *(hypercorn, "restate_service:app", "--worker-class", "uvloop"),
            *("--bind", f"127.0.0.1:{service}"),
            cwd=HERE, stdout=DEVNULL, stderr=DEVNULL,
        )  # fmt: skip
        stack.push_async_callback(_stop, serving)
        server = await asyncio.create_subprocess_exec(
            *(RESTATE_SERVER, "--no-logo", "--base-dir", folder),
            cwd=folder, env=environment, stdout=DEVNULL, stderr=DEVNULL,
        )  # fmt: skip
        stack.push_async_callback(_stop, server)
        for port in (service, admin, ingress):
            await until_listening(port)
        async with (
            aiohttp.ClientSession() as http,
            http.post(
                f"http://127.0.0.1:{admin}/deployments",
                json={"uri": f"http://127.0.0.1:{service}"},
            ) as answer,
        ):
            if not answer.ok:
                raise RuntimeError(f"Restate does not take the service: {await answer.text()}")
        yield ingress


class Workflows:
    """DBOS's process, which calls its workflow as often as it is told."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def answer(self) -> Sequence[float]:
        """Return its next line."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("DBOS's process ended")
        latencies: list[float] = json.loads(line)
        return latencies

    async def closed_loop(self, callers: int, seconds: float) -> Sequence[float]:
        """Return the latency of each call."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{callers} {seconds}\n".encode())
        return await self.answer()


@contextlib.asynccontextmanager
async def dbos_workflows(dsn: str) -> AsyncIterator[Workflows]:
    """Run DBOS on a Postgres."""
    process = await asyncio.create_subprocess_exec(
        *(peer_program("python"), HERE / "dbos_workflow.py", dsn),
        stdin=PIPE, stdout=PIPE, limit=_LINE_BYTES_MAX,
    )  # fmt: skip
    try:
        workflows = Workflows(process)
        await workflows.answer()
        yield workflows
    finally:
        await _stop(process)


async def _stop(process: Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(_STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
