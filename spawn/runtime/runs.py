"""Which actions run right now beside the event loop's own steps: async ones, and those in threads.

Such an action keeps its actor from all other commands, for as long as it runs. So it is named: in
the log when it takes long, in what callers are told, and at a stop that waits for it.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Final

from spawn.core.actors import Actor
from spawn.core.commands import Command
from spawn.errors import NotStarted, OutcomeUnknown, SpawnError

__all__ = ["CURRENT", "Runs", "describe_run"]

LONG_S: Final = 10.0
"""Most callers still wait then, and no action that is meant to be awaited takes as long."""
_LOOK_S: Final = 1.0
_SILENCE_S: Final = 60.0
"""Between two lines about one action, which may hang in all of its actors."""

CURRENT: Final[ContextVar[Command | None]] = ContextVar("spawn_current_command", default=None)
"""The command whose action the code that looks runs in; in tasks that it began, too."""

_logger = logging.getLogger("spawn.actor")


class Runs:
    """A node's running actions, by their command."""

    def __init__(self) -> None:
        self.running: dict[Command, Actor] = {}
        self._looked = 0.0
        self._told: dict[tuple[str, str], float] = {}
        self._named: set[Command] = set()

    @contextlib.contextmanager
    def noted(self, command: Command, actor: Actor) -> Iterator[None]:
        """Count a run while the body runs."""
        self.running[command] = actor
        try:
            yield
        finally:
            del self.running[command]
            self._named.discard(command)

    def is_held_by(self, command: Command, actor_type: str, actor_id: bytes) -> bool:
        """Tell whether this actor runs this command, so that another one can't begin."""
        actor = self.running.get(command)
        return actor is not None and (command.type, command.id) == (actor_type, actor_id)

    def observe(self, now: float) -> None:
        """Name in the log, once each, what has run for long."""
        if now - self._looked < _LOOK_S:
            return
        self._looked = now
        for command, actor in self.running.items():
            if command.begun <= 0 or now - command.begun < LONG_S or command in self._named:
                continue
            self._named.add(command)
            name = (command.type, command.action)
            if now - self._told.get(name, -_SILENCE_S) < _SILENCE_S:
                continue
            self._told[name] = now
            waiting = len(actor.work.mailbox) if actor.work is not None else 0
            _logger.warning(
                "%s.%s of %s has run for %.0f s (%s); %s",
                *name, actor.name, now - command.begun, _place(command, actor), _waiting(waiting),
                extra={"actor": actor.name, "action": command.action},
            )  # fmt: skip

    def describe(self, now: float, most: int = 3) -> str:
        """Return what runs, the longest first: `Account/x.forever (for 12 s)`; may be empty."""
        runs = sorted(self.running.items(), key=lambda run: run[0].begun or now)
        shown = [describe_run(command, now) for command, _ in runs[:most]]
        more = [f"{len(runs) - most} more"] if len(runs) > most else []
        return ", ".join([*shown, *more])

    def too_late(self, command: Command, now: float) -> SpawnError:
        """Return what a caller is told at the deadline: whether it was started, and what runs."""
        name = f"{command.type}/{command.id.decode()}"
        action = command.action or "the read"
        if command.started:
            runs = command in self.running
            how = "still ran" if runs else "was on its way into the log"
            return OutcomeUnknown(
                f"the deadline passed while {action} {how}; it may have taken effect, now or later",
                at=name,
                hint="call again with the same Idempotency-Key: it never takes effect twice"
                if command.key_text or command.request is not None
                else f"`spawn events {name}` shows whether it did; a call that was sent with an "
                "Idempotency-Key can be sent again",
            )
        before = self._in_the_way(command, now)
        return NotStarted(
            f"the deadline passed before {action} was started{before}; it was not executed",
            at=name,
            hint="call again, or wait longer (Spawn-Timeout)",
        )

    def _in_the_way(self, command: Command, now: float) -> str:
        """Say what a call waits for, where that is another action of its actor."""
        for running in self.running:
            if (running.type, running.id) == (command.type, command.id) and running is not command:
                return f", behind {describe_run(running, now)}"
        return ""


def describe_run(command: Command, now: float) -> str:
    """Return a command that runs, and since when."""
    since = f" (for {now - command.begun:.0f} s)" if command.begun > 0 else ""
    return f"{command.type}/{command.id.decode()}.{command.action}{since}"


def _place(command: Command, actor: Actor) -> str:
    info = actor.table.behavior.actions.get(command.action)
    return info.place if info is not None else ""


def _waiting(count: int) -> str:
    return (
        f"{count} call{' waits' if count == 1 else 's wait'} for it" if count else "nothing waits"
    )
