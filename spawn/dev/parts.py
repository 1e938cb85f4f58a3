"""What a part of the stack is to the stack: a command to run and a way to ask whether it serves."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from spawn.dev.supervisor_link import SupervisorLink

__all__ = ["PART_NAMES", "Command", "Identity", "Part", "PartName"]

PartName = Literal["kafka", "postgres", "nats"]

PART_NAMES: tuple[PartName, ...] = ("kafka", "postgres", "nats")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """As whom a child runs that refuses to be root; the modes are the supervisor's."""

    mode: Literal["userns", "setuid"]
    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One child of the supervisor.

    Its environment is complete: nothing of the user's own (PGPORT, KAFKA_..., a file `.env` in the
    current folder) may change what a server of ours does.
    """

    name: str
    argv: tuple[str, ...]
    """The first is the absolute path of the program."""
    log: Path
    cwd: Path = Path("/")
    env: Mapping[str, str] = field(
        default_factory=lambda: {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": "/"}
    )
    stop_signal: signal.Signals = signal.SIGTERM
    """Which signal makes it stop in an orderly way, and soon."""
    identity: Identity | None = None


class Part(Protocol):
    """One server of the stack."""

    @property
    def name(self) -> PartName: ...

    @property
    def port(self) -> int | None:
        """The TCP port that it listens on; None for a server on a socket of the file system."""

    async def prepare(self, link: SupervisorLink) -> None:
        """Do what must be done once before the first start.

        Raises: StackError.
        """

    def use_port(self, port: int) -> None:
        """Listen on that port from the next start."""

    def command(self) -> Command:
        """Return the command that runs it. Clears away what an earlier, killed run left behind."""

    async def answers(self) -> bool:
        """Ask in the server's protocol whether it serves, and that it is ours.

        Returns false or raises OSError, EOFError or ValueError when it does not, yet.
        """
