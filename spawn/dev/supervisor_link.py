"""The parent's end of the supervisor: starts it, sends requests, learns of exits.

The supervisor's module describes the protocol. What comes from it is handled in callbacks of the
loop, so there is no reading task that would need an owner.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, cast

from spawn.dev.errors import StackError, SupervisorLost
from spawn.dev.logs import with_last_lines
from spawn.dev.parts import Command, Identity

__all__ = ["Exit", "SupervisorLink"]

_logger = logging.getLogger(__name__)

_REPLY_TIMEOUT_S = 10.0
"""The supervisor answers within milliseconds; a machine that swaps needs more."""

_CLOSE_MARGIN_S = 3.0
"""Beyond the supervisor's own grace for its children, before it is killed itself."""

STOP_GRACE_S = 2.0
"""From a child's stop signal to SIGKILL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """The end of a child, reported once nothing that descended from it is left."""

    name: str
    pid: int
    code: int | None
    """The exit code; None when a signal ended it."""
    signal: int | None
    """The signal that ended it; None when it exited by itself."""

    def __str__(self) -> str:
        if self.signal is not None:
            return f"was ended by {signal.Signals(self.signal).name}"
        return f"ended with exit code {self.code}"


class SupervisorLink(asyncio.SubprocessProtocol):
    """A running supervisor. Made by `open`; ends, with all its children, by `close`.

    When this process dies, in whatever way, the supervisor notices and does the same.
    """

    def __init__(self, on_exit: Callable[[Exit], None], on_lost: Callable[[], None]) -> None:
        self._on_exit = on_exit
        self._on_lost = on_lost
        loop = asyncio.get_running_loop()
        self._transport: asyncio.SubprocessTransport | None = None
        self._ready: asyncio.Future[int] = loop.create_future()
        self._ended: asyncio.Future[None] = loop.create_future()
        self._replies: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._exits: dict[str, asyncio.Future[Exit]] = {}
        self._request_ids = itertools.count(1)
        self._received = b""
        self._closing = False

    @classmethod
    async def open(
        cls,
        *,
        log: Path,
        keep_fd: int,
        on_exit: Callable[[Exit], None],
        on_lost: Callable[[], None],
    ) -> Self:
        """Start a supervisor and return once it takes requests.

        It holds `keep_fd` open until its end. `on_exit` is called for every child that ended,
        `on_lost` once if the supervisor ends before `close`; both in the loop, and they may not
        raise.

        Raises: SupervisorLost - it did not start; its output is in `log`.
        """
        link = cls(on_exit, on_lost)
        try:
            await link._launch(log, keep_fd)
            async with asyncio.timeout(_REPLY_TIMEOUT_S):
                await asyncio.shield(link._ready)
        except (OSError, TimeoutError, SupervisorLost) as error:
            await link.close()
            message = with_last_lines("the stack's supervisor process did not start", log)
            raise SupervisorLost(message, at=str(log), hint="mend what the log names") from error
        except BaseException:
            link._kill()
            raise
        return link

    async def _launch(self, log: Path, keep_fd: int) -> None:
        script = Path(__file__).with_name("supervisor.py")
        options = ["--parent", str(os.getpid()), "--keep-fd", str(keep_fd)]
        with log.open("ab") as log_file:
            # By its path, without site-packages: neither may slow it down or change what it does.
            # A session of its own: the terminal's Ctrl-C is the parent's to handle.
            await asyncio.get_running_loop().subprocess_exec(
                lambda: self,
                *(sys.executable, "-I", "-S", str(script), *options),
                stderr=log_file,
                pass_fds=(keep_fd,),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The supervisor's own pid."""
        assert self._transport is not None
        pid = self._transport.get_pid()
        assert pid is not None
        return pid

    # --- requests ---

    async def start(self, command: Command) -> int:
        """Start a child and return its pid once the program itself runs.

        Raises: StackError - it could not be started. SupervisorLost.
        """
        ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        previous = self._exits.get(command.name)
        self._exits[command.name] = ended
        fields = {
            "name": command.name,
            "argv": command.argv,
            "env": dict(command.env),
            "cwd": str(command.cwd),
            "log": str(command.log),
            "stop_signal": command.stop_signal.name,
            "identity": asdict(command.identity) if command.identity else None,
        }
        try:
            reply = await self._request("start", **fields)
        except BaseException:
            if previous is not None:
                self._exits[command.name] = previous
            raise
        return int(reply["pid"])

    async def signal(self, name: str, number: signal.Signals) -> int:
        """Send a signal to a child and all of its descendants; return how many processes got it.

        Raises: StackError - it does not run. SupervisorLost.
        """
        reply = await self._request("signal", name=name, signal=number.name)
        return int(reply["count"])

    async def stop(self, name: str, grace_s: float = STOP_GRACE_S) -> Exit:
        """Stop a child, by SIGKILL after `grace_s`, and return when it has ended.

        Raises: StackError - it does not run, or can't be killed. SupervisorLost.
        """
        await self._request("stop", name=name, grace_s=grace_s)
        return await self.wait_exit(name, grace_s + _REPLY_TIMEOUT_S)

    async def can_take(self, identity: Identity) -> bool:
        """Return whether a child of that identity could be made on this machine.

        Raises: SupervisorLost.
        """
        try:
            await self._request("try_identity", identity=asdict(identity))
        except SupervisorLost:
            raise
        except StackError as error:
            _logger.debug("%s", error)
            return False
        return True

    def has_exited(self, name: str) -> Exit | None:
        """Return how the child that was last started under this name ended; None while it runs.

        Raises: SupervisorLost.
        """
        ended = self._exits[name]
        return ended.result() if ended.done() else None

    async def wait_exit(self, name: str, timeout_s: float) -> Exit:
        """Return how the child that was last started under this name ended, once it has.

        Raises: StackError - it has not within `timeout_s`. SupervisorLost.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(self._exits[name])
        except TimeoutError as error:
            raise StackError(
                f"{name} did not end within {timeout_s:.0f} s", at="the embedded stack"
            ) from error

    async def close(self) -> None:
        """End the children and the supervisor; bounded, and safe to repeat.

        When cancelled it kills the supervisor, with which the children die (at once, on Linux).
        """
        self._closing = True
        if self._transport is None:
            return
        control = cast("asyncio.WriteTransport", self._transport.get_pipe_transport(0))
        if control is not None:
            control.close()
        try:
            async with asyncio.timeout(STOP_GRACE_S + _CLOSE_MARGIN_S):
                await asyncio.shield(self._ended)
        except TimeoutError:
            _logger.warning("the supervisor (pid %s) did not end by itself", self.pid)
        finally:
            self._kill()

    def _kill(self) -> None:
        self._closing = True
        if self._transport is not None:
            # Kills the process if it still runs.
            self._transport.close()

    async def _request(self, operation: str, **fields: object) -> dict[str, Any]:
        if self._transport is None or self._ended.done() or self._closing:
            raise _lost()
        request_id = next(self._request_ids)
        reply: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._replies[request_id] = reply
        control = cast("asyncio.WriteTransport", self._transport.get_pipe_transport(0))
        message: Mapping[str, object] = {"id": request_id, "op": operation, **fields}
        control.write(json.dumps(message).encode() + b"\n")
        try:
            async with asyncio.timeout(_REPLY_TIMEOUT_S):
                answer = await reply
        except TimeoutError as error:
            raise SupervisorLost(
                f"the stack's supervisor did not answer within {_REPLY_TIMEOUT_S:.0f} s",
                at=f"process {self.pid}",
            ) from error
        finally:
            self._replies.pop(request_id, None)
        if not answer["ok"]:
            raise StackError(answer["error"], at="the embedded stack")
        return answer

    # --- callbacks of the loop ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast: uvloop's transports are of classes of its own.
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            self._take(json.loads(line))

    def _take(self, message: dict[str, Any]) -> None:
        match message:
            case {"re": int(request_id)}:
                reply = self._replies.get(request_id)
                if reply is not None and not reply.done():
                    reply.set_result(message)
            case {"event": "ready", "pid": pid}:
                if not self._ready.done():
                    self._ready.set_result(pid)
            case {"event": "exited"}:
                self._take_exit(
                    Exit(**{key: value for key, value in message.items() if key != "event"})
                )
            case _:
                _logger.warning("the supervisor said something unknown: %s", message)

    def _take_exit(self, ended: Exit) -> None:
        future = self._exits.get(ended.name)
        if future is not None and not future.done():
            future.set_result(ended)
        self._on_exit(ended)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 1:
            self._lose()

    def process_exited(self) -> None:
        self._lose()
        if not self._ended.done():
            self._ended.set_result(None)

    def _lose(self) -> None:
        """Tell everybody who waits that nothing more will come."""
        pending: list[asyncio.Future[Any]] = [self._ready]
        pending += [*self._replies.values(), *self._exits.values()]
        for future in pending:
            if not future.done():
                future.set_exception(_lost())
                # Most often nobody waits for it; that is no error.
                future.exception()
        if not self._closing:
            self._closing = True
            self._on_lost()


def _lost() -> SupervisorLost:
    return SupervisorLost(
        "the stack's supervisor process has ended, and the servers with it",
        at="the embedded stack",
        hint="start it again; if nobody killed it, see logs/supervisor.log in the data folder",
    )
