"""The embedded stack: broker, PostgreSQL and NATS as children of a supervisor of ours.

    async with EmbeddedStack(Path(".spawn")) as stack:
        print(stack.endpoints)
        died = await stack.next_death()

Guarantees: everything listens on loopback or in folders that only we can enter. Several stacks can
run on one machine, each on a data folder of its own. Whatever becomes of this process, SIGKILL
included, its servers end within some 2 s; on Linux also when the supervisor is killed.

What lasts: PostgreSQL's data (`pg` in the data folder). The broker keeps its log in memory: it is
empty after every start, restart and crash of the broker, while the database still holds what was
made from the earlier log. Whoever composes a node with this stack has to tell the two apart.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from spawn.dev import binaries
from spawn.dev.endpoints import ChildDied, Endpoints
from spawn.dev.errors import PartFailed, StackError, SupervisorLost
from spawn.dev.folders import lock_folder, make_data_folder
from spawn.dev.kafka_part import KafkaPart
from spawn.dev.logs import last_lines, with_last_lines
from spawn.dev.nats_part import NatsPart
from spawn.dev.parts import PART_NAMES, Part, PartName
from spawn.dev.ports import HOST, is_port_taken, pick_port
from spawn.dev.postgres_part import PostgresPart
from spawn.dev.processes import kill_group_if_same, start_token
from spawn.dev.supervisor_link import Exit, SupervisorLink

__all__ = ["ChildDied", "EmbeddedStack", "Endpoints"]

_logger = logging.getLogger(__name__)

_LOCK_WAIT_S = 6.0
"""A stack whose owner was killed needs up to 4 s to end its servers; then its folder is free."""

_POLL_S = 0.01
"""Between two questions whether a server serves; the fastest one is up after some 50 ms."""

_ANSWER_TIMEOUT_S = 1.0
"""For one question. A server that comes up and is slow gets the next one."""

_PORT_ATTEMPTS = 5
"""New ports tried when another process was faster; of 12,000 to choose from, once is rare."""

_SAME_PORT_WAIT_S = 5.0
"""How long a restart waits for its old port while somebody else has it."""

_KILL_WAIT_S = 5.0


class EmbeddedStack:
    """The servers of `spawn dev`, or some of them, from `start` to `close`; used once.

    Operations on one part come one at a time; those on different parts may overlap.
    """

    def __init__(
        self,
        data_folder: Path,
        *,
        kafka: bool = True,
        postgres: bool = True,
        nats: bool = True,
        start_timeout_s: float = 30.0,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """Describe a stack; nothing is touched before `start`.

        `start_timeout_s` is what each part has from its start to its first answer; a few seconds
        are the rule, a cold and busy disk needs more. `environ` may name other programs
        (`binaries`).
        """
        self._data_folder = data_folder
        wanted = {"kafka": kafka, "postgres": postgres, "nats": nats}
        self._wanted = [name for name in PART_NAMES if wanted[name]]
        self._start_timeout_s = start_timeout_s
        self._environ = environ
        self._parts: dict[PartName, Part] = {}
        self._link: SupervisorLink | None = None
        self._lock_fd: int | None = None
        self._processes: dict[str, tuple[int, str]] = {}
        # Parts that serve: when one of these ends, nobody asked for it.
        self._serving: set[str] = set()
        # Bounded by the restarts that the owner asks for.
        self._deaths: asyncio.Queue[ChildDied] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def start(self) -> Endpoints:
        """Start the wanted parts, all at once, and return when each has answered.

        Raises: StackError, one of its kinds; then nothing is left running.
        """
        try:
            await self._open()
            await self._start_parts()
        except BaseException:
            await self.close()
            raise
        return self.endpoints

    async def close(self) -> None:
        """Stop all parts and the supervisor: by signal, after 2 s by SIGKILL. Safe to repeat.

        When this is cancelled everything is killed at once.
        """
        self._serving.clear()
        try:
            if self._link is not None:
                await self._link.close()
        finally:
            self._kill_leftovers()
            if self._lock_fd is not None:
                os.close(self._lock_fd)
                self._lock_fd = None

    # --- what runs where ---

    @property
    def endpoints(self) -> Endpoints:
        """What runs where now; a restart changes pids, never addresses."""
        kafka, postgres, nats = (self._parts.get(name) for name in PART_NAMES)
        pids = {name: self._processes[name][0] for name in sorted(self._serving)}
        if self._link is not None:
            pids["supervisor"] = self._link.pid
        return Endpoints(
            kafka_bootstrap=kafka.bootstrap if isinstance(kafka, KafkaPart) else None,
            postgres_dsn=postgres.dsn if isinstance(postgres, PostgresPart) else None,
            nats_url=nats.url if isinstance(nats, NatsPart) else None,
            pids=pids,
            logs={name: self.log_path(name) for name in self._parts},
            data_folder=self._data_folder,
        )

    @property
    def kafka_bootstrap(self) -> str:
        """`host:port` of the broker.

        Raises: StackError - this stack has none.
        """
        return _present(self.endpoints.kafka_bootstrap, "kafka")

    @property
    def postgres_dsn(self) -> str:
        """libpq URI of the database; its host is the folder with the socket.

        Raises: StackError - this stack has none.
        """
        return _present(self.endpoints.postgres_dsn, "postgres")

    @property
    def nats_url(self) -> str:
        """Address of the NATS server.

        Raises: StackError - this stack has none.
        """
        return _present(self.endpoints.nats_url, "nats")

    def pid(self, name: PartName) -> int:
        """Return the process id of a running part; PostgreSQL's is that of its first process.

        Raises: StackError - it does not run.
        """
        if name not in self._serving:
            raise StackError(f"{name} does not run", at="the embedded stack")
        return self._processes[name][0]

    def log_path(self, name: str) -> Path:
        """Return the file that takes the output of a part, of `initdb` or of the `supervisor`."""
        return self._data_folder / "logs" / f"{name}.log"

    async def next_death(self) -> ChildDied:
        """Wait for the next part that ends without being asked to.

        Each end is told once, to one waiter; ends wait here until somebody asks.
        """
        return await self._deaths.get()

    # --- one part, for tests of faults ---

    async def stop(self, name: PartName) -> None:
        """Stop a part in its orderly way; after 2 s by SIGKILL. Returns when it has ended.

        Raises: StackError - it does not run. SupervisorLost.
        """
        self._serving.discard(name)
        await self._running_link().stop(name)

    async def kill(self, name: PartName) -> None:
        """Kill all processes of a part with SIGKILL. Returns when they have ended.

        Raises: StackError - it does not run. SupervisorLost.
        """
        self._serving.discard(name)
        await self._running_link().signal(name, signal.SIGKILL)
        await self._running_link().wait_exit(name, _KILL_WAIT_S)

    async def freeze(self, name: PartName) -> None:
        """Stop all processes of a part in their tracks (SIGSTOP); connections stay open.

        Raises: StackError - it does not run. SupervisorLost.
        """
        await self._running_link().signal(name, signal.SIGSTOP)

    async def thaw(self, name: PartName) -> None:
        """Let a frozen part go on.

        Raises: StackError - it does not run. SupervisorLost.
        """
        await self._running_link().signal(name, signal.SIGCONT)

    async def restart(self, name: PartName) -> None:
        """Start a part again, on the same address; one that runs is stopped first.

        PostgreSQL finds its data again; the broker is empty.

        Raises: StackError - it does not come up, or its port was taken meanwhile. SupervisorLost.
        """
        part = self._parts.get(name)
        if part is None:
            raise StackError(f"this stack has no {name}", at="the embedded stack")
        if name in self._serving:
            await self.stop(name)
        await self._bring_up(part, same_port=True)

    # --- starting ---

    async def _open(self) -> None:
        self._data_folder = make_data_folder(self._data_folder)
        self._lock_fd = await lock_folder(self._data_folder, _LOCK_WAIT_S)
        self._parts = {name: self._make_part(name) for name in self._wanted}
        for name in (*self._wanted, "initdb", "supervisor"):
            # Else the first error would show the last lines of an earlier run.
            self.log_path(name).unlink(missing_ok=True)
        self._link = await SupervisorLink.open(
            log=self.log_path("supervisor"),
            keep_fd=self._lock_fd,
            on_exit=self._on_exit,
            on_lost=self._on_lost,
        )

    def _make_part(self, name: PartName) -> Part:
        log = self.log_path(name)
        match name:
            case "kafka":
                return KafkaPart(binaries.tansu(self._environ), log)
            case "postgres":
                programs = binaries.postgres_folder(self._environ)
                return PostgresPart(programs, self._data_folder, log)
            case "nats":
                return NatsPart(binaries.nats_server(self._environ), log)

    async def _start_parts(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                for part in self._parts.values():
                    tasks.create_task(self._start_part(part))
        except BaseExceptionGroup as group:
            # The first is the cause; the others were cut off by it or failed beside it. No except*:
            # releases of Python differ in whether what is raised there becomes a group again.
            raise _first(group) from None

    async def _start_part(self, part: Part) -> None:
        await part.prepare(self._running_link())
        await self._bring_up(part, same_port=False)

    async def _bring_up(self, part: Part, *, same_port: bool) -> None:
        """Start the part until it answers; where its port was taken meanwhile, with another one."""
        deadline = _now() + self._start_timeout_s
        give_up_port_at = _now() + _SAME_PORT_WAIT_S
        attempts_left = _PORT_ATTEMPTS
        while True:
            if part.port is not None and not same_port:
                part.use_port(pick_port())
            await self._launch(part)
            if await self._is_up_by(part, deadline):
                self._serving.add(part.name)
                return
            if part.port is None or not is_port_taken(part.port):
                raise self._failed(part, f"{self._running_link().has_exited(part.name)}")
            attempts_left -= 1
            if _now() >= give_up_port_at or (attempts_left == 0 and not same_port):
                raise self._failed(part, f"found its port {HOST}:{part.port} taken")
            await asyncio.sleep(_POLL_S)

    async def _launch(self, part: Part) -> None:
        command = part.command()
        try:
            pid = await self._running_link().start(command)
        except SupervisorLost:
            raise
        except StackError as error:
            raise PartFailed(
                f"{part.name} can't be started: {error}",
                at=command.argv[0],
                hint="mend what the text names and start again",
            ) from error
        self._processes[part.name] = (pid, start_token(pid) or "")

    async def _is_up_by(self, part: Part, deadline: float) -> bool:
        """Wait until the part answers; false when it ended instead.

        Raises: PartFailed - neither happened before the deadline; the part is killed then.
        """
        link = self._running_link()
        while link.has_exited(part.name) is None:
            if _now() >= deadline:
                error = self._failed(part, f"did not answer within {self._start_timeout_s:g} s")
                await self.kill(part.name)
                raise error
            if await _answers(part):
                return link.has_exited(part.name) is None
            await asyncio.sleep(_POLL_S)
        return False

    def _failed(self, part: Part, how: str) -> PartFailed:
        log = self.log_path(part.name)
        return PartFailed(
            with_last_lines(f"{part.name} {how}", log),
            at=str(log),
            hint="mend what its log names and start again",
        )

    def _running_link(self) -> SupervisorLink:
        if self._link is None:
            raise StackError("the stack was not started", at="the embedded stack")
        return self._link

    # --- ends that nobody asked for (called by the link) ---

    def _on_exit(self, ended: Exit) -> None:
        if ended.name in self._serving:
            self._serving.discard(ended.name)
            self._tell_death(ended.name, ended.pid, str(ended))

    def _on_lost(self) -> None:
        self._serving.clear()
        self._kill_leftovers()
        if self._link is not None:
            self._tell_death("supervisor", self._link.pid, "has ended, and the servers with it")

    def _tell_death(self, name: str, pid: int, reason: str) -> None:
        log = self.log_path(name)
        died = ChildDied(
            name=name, pid=pid, reason=reason, log=log, last_lines=tuple(last_lines(log))
        )
        _logger.warning("%s (pid %s) %s; log: %s", name, pid, reason, log)
        self._deaths.put_nowait(died)

    def _kill_leftovers(self) -> None:
        """Kill what a supervisor could not end that was killed itself (Linux has done so)."""
        for pid, token in self._processes.values():
            kill_group_if_same(pid, token)


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _answers(part: Part) -> bool:
    try:
        async with asyncio.timeout(_ANSWER_TIMEOUT_S):
            return await part.answers()
    except (OSError, EOFError, ValueError):
        # Not listening yet, or another server has the port: the next question will tell.
        return False


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _present(address: str | None, name: PartName) -> str:
    if address is None:
        raise StackError(
            f"this stack has no {name}", at="the embedded stack", hint=f"start it with {name}=True"
        )
    return address
