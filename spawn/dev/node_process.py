"""`spawn dev`'s side of a node's process (see `node_child` for what the two say to each other)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from asyncio.subprocess import Process

import msgspec

from spawn.dev.node_child import Failure, Order, Report, Served

__all__ = ["NodeCrashed", "NodeProcess", "TargetFailed"]

_STOP_EXTRA_S = 2.0
"""After a node's own grace, until it is killed."""


class TargetFailed(Exception):
    """The node could not load or serve its target; `failure` says why."""

    def __init__(self, failure: Failure, files: tuple[str, ...]) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.files = files


class NodeCrashed(Exception):
    """The node ended and told nothing, as when it is killed; `how` it did."""

    def __init__(self, pid: int, how: str) -> None:
        super().__init__(f"the node (pid {pid}) {how} and did not say why")
        self.how = how


class NodeProcess:
    """One node: waiting for an order, prepared, serving, ended; used once."""

    def __init__(self, process: Process, control: int, reports: asyncio.StreamReader) -> None:
        self._process = process
        self._control = control
        self._reports = reports
        self.files: tuple[str, ...] = ()
        """What it has loaded of the target's own folder."""

    @classmethod
    async def start(cls, listener: socket.socket) -> NodeProcess:
        """Start a process that waits for its order. It serves on `listener`."""
        control_read, control_write = os.pipe()
        report_read, report_write = os.pipe()
        try:
            given = (control_read, report_write, listener.fileno())
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "spawn.dev.node_child", *map(str, given)),
                pass_fds=given,
                # Ctrl-C is `spawn dev`'s matter from the first moment, also while Python starts.
                preexec_fn=_ignore_interrupts,
            )
        except BaseException:
            os.close(control_write)
            os.close(report_read)
            raise
        finally:
            os.close(control_read)
            os.close(report_write)
        reports = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reports), os.fdopen(report_read, "rb")
        )
        return cls(process, control_write, reports)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process.returncode is None

    async def prepare(self, order: Order) -> Served:
        """Let it load and check its target, claiming nothing. Raises: TargetFailed, NodeCrashed."""
        self._send(msgspec.json.encode(order))
        report = await self._report()
        assert report.prepared is not None, "a node first tells that it is prepared"
        self.files = report.files
        return report.prepared

    async def serve(self) -> Report:
        """Let it take over and serve; return when it does. Raises: TargetFailed, NodeCrashed."""
        self._send(b'{"go": true}')
        return await self._report()

    async def _report(self) -> Report:
        line = await self._reports.readline()
        if not line:
            raise NodeCrashed(self.pid, await self.ended())
        report = msgspec.json.decode(line, type=Report)
        if report.failed is not None:
            raise TargetFailed(report.failed, report.files)
        return report

    async def ended(self) -> str:
        """Wait for its end; return how it ended, for people."""
        code = await self._process.wait()
        if code < 0:
            return f"was killed ({signal.Signals(-code).name})"
        return f"ended with exit code {code}"

    async def failure(self) -> Failure | None:
        """Return the error that ended it while it served, if it told one."""
        line = await self._reports.readline()
        return msgspec.json.decode(line, type=Report).failed if line else None

    async def stop(self, grace_s: float) -> None:
        """Stop it in order; kill it when it takes longer than `grace_s`."""
        self._send(b'{"stop": true}')
        try:
            async with asyncio.timeout(grace_s + _STOP_EXTRA_S):
                await self._process.wait()
        except TimeoutError:
            pass
        finally:
            self.kill()

    def kill(self) -> None:
        """End it at once; may be called again."""
        if self._control >= 0:
            os.close(self._control)
            self._control = -1
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def _send(self, line: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has ended, which its reports tell
            os.write(self._control, line + b"\n")


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
