"""Clients of a simulated system: each an ingress of its own, with unique operations.

A client sends an operation under one number to whichever node it believes in, and sends it again,
to the same or another one, until it is told an outcome or gives up. What it was told is kept for
the checks; so is every copy that it ever sent, for the sweep at the end.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from eventstore.log import TopicPartition
from eventstore.records import RequestNumber
from spawn.core.commands import Answer, Command
from spawn.core.ids import partition_of
from spawn.core.keys import digest_key
from spawn.core.numbering import Numbers
from spawn.errors import OutcomeUnknown, Rejected, RequestSettled, RequestTooOld, SpawnError

if TYPE_CHECKING:
    from tests.simulation.loop import Process
    from tests.simulation.world import World

__all__ = ["Client", "Operation"]

_TRY_S: Final = (0.3, 3.0)
_SHARP_TRY_S: Final = (0.1, 0.8)
_DEADLINE_S: Final = (4.0, 20.0)


@dataclass(slots=True, eq=False)
class Operation:
    """One operation, and what its client was told of it."""

    action: str
    actor: str
    number: int
    began: float
    """World time."""
    request: RequestNumber | None = None
    key: str = ""
    ended: float = 0.0
    """World time; 0: it is under way."""
    outcome: str = ""
    """`done`, `rejected`, `unknown` (also: too old), `busy` (never executed as far as is known)."""
    reply: Any = None
    revision: int = 0
    copies: int = 0

    def __str__(self) -> str:
        what = f"{self.action} {self.actor} {self.number} -> {self.outcome} {self.reply}"
        return f"{self.began:.3f}-{self.ended:.3f} {what}"


class Client:
    """One caller, who does one thing after the other."""

    def __init__(self, world: World, name: str, process: Process, dice: random.Random) -> None:
        self._world = world
        self._name = name
        self._process = process
        self._dice = dice
        self._session = dice.randbytes(16)
        self._numbers: dict[TopicPartition, Numbers] = {}
        self.operations: list[Operation] = []
        self.copies: list[Callable[[str], None]] = []
        """Sends one more copy of an operation to a node."""

    async def run(self, count: int) -> None:
        """Do so many operations."""
        dice, world = self._dice, self._world
        for _ in range(count):
            await asyncio.sleep(dice.expovariate(1 / world.pause_s))
            if world.is_closing:
                return
            action = dice.choices(["add", "all", "refuse", "nothing"], world.mix)[0]
            await self.do(action, dice.choice(world.actors))

    async def do(self, action: str, actor: str) -> Operation:
        """Do one operation until its outcome is known or its time is up."""
        world, dice = self._world, self._dice
        number = world.next_number()
        operation = Operation(action, actor, number, world.loop.now)
        if action != "all" and dice.random() < 0.2:
            operation.key = f"key-{number}"
        self.operations.append(operation)
        at = world.partition_of(actor)
        drawn = None
        if action != "all" and not (operation.key and dice.random() < 0.7):
            numbers = self._numbers_of(at)
            drawn = numbers.draw(world.wall_us(self._name))
            operation.request = drawn.number
        deadline = world.loop.now + dice.uniform(*_DEADLINE_S)
        told: SpawnError | None = None
        while world.loop.now < deadline:
            answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            name = world.guess(at, dice)
            shortest, longest = _SHARP_TRY_S if world.is_sharp else _TRY_S
            patience = min(dice.uniform(shortest, longest), deadline - world.loop.now)
            self._send(operation, name, patience, answer)
            try:
                async with asyncio.timeout(patience * self._process.rate + 0.001):
                    reply = await answer
            except TimeoutError:
                continue
            if not isinstance(reply, SpawnError):
                operation.outcome = "done"
                if isinstance(reply, Answer):
                    operation.reply, operation.revision = reply.reply, reply.revision
                else:
                    operation.reply = reply
                break
            told = reply
            if isinstance(reply, Rejected):
                operation.outcome = "rejected"
                break
            if isinstance(reply, RequestTooOld | RequestSettled):
                operation.outcome = "unknown"
                break
            if at in world.broker.truncated:
                operation.outcome = "unknown"
                break
            if not reply.retryable and not isinstance(reply, OutcomeUnknown):
                world.wrong(f"{operation} was told {reply!r}")
                break
            await asyncio.sleep(dice.uniform(0.01, 0.3))
        operation.ended = world.loop.now
        operation.outcome = operation.outcome or "unknown"
        world.note(f"{self._name}: {operation} {told!r}")
        if drawn is not None:
            drawn.settle()
        return operation

    def send_again(self, operation: Operation, name: str) -> None:
        """Let a copy of an operation that is over arrive at a node."""
        answer: asyncio.Future[Any] = self._world.loop.create_future()
        self._send(operation, name, 5.0, answer)

    def _numbers_of(self, at: TopicPartition) -> Numbers:
        numbers = self._numbers.get(at)
        if numbers is None:
            session = self._dice.randbytes(16) if at.partition else self._session
            numbers = Numbers(session, lambda: self._dice.randbytes(16))
            self._numbers[at] = numbers
        return numbers

    def _send(
        self, operation: Operation, name: str, patience: float, answer: asyncio.Future[Any]
    ) -> None:
        """Put one copy on its way; `answer` gets what comes back, if it does."""
        operation.copies += 1
        for delay in self._world.weather.message():
            self._world.later(delay, lambda: self._arrive(operation, name, patience, answer))

    def _arrive(
        self, operation: Operation, name: str, patience: float, answer: asyncio.Future[Any]
    ) -> None:
        world = self._world
        node = world.dispatcher_of(name)
        process = world.process_of(name)
        if node is None or process is None:
            return
        at = world.partition_of(operation.actor)

        def answered(outcome: Any, time_us: int) -> None:
            for delay in world.weather.message():
                world.later(delay, lambda: self._told(at, outcome, time_us, answer))

        def submit() -> None:
            payload = str(operation.number).encode()
            waiter = node.new_waiter()
            command = Command(
                "List",
                operation.actor.encode(),
                operation.action,
                payload,
                payload,
                node.now() + patience,
                waiter,
                operation.action != "all",
                request=operation.request,
            )
            if operation.key:
                command.key = digest_key(operation.key, operation.action, payload)
                command.key_text = operation.key

            def done(future: asyncio.Future[Any]) -> None:
                error = future.exception()
                outcome = future.result() if error is None else error
                answered(outcome, node.log_time_us("List", operation.actor))

            waiter.add_done_callback(done)
            node.submit(command)

        with world.loop.inside(process):
            world.loop.call_soon(submit)

    def _told(
        self, at: TopicPartition, outcome: Any, time_us: int, answer: asyncio.Future[Any]
    ) -> None:
        self._numbers_of(at).learn(time_us)
        if not answer.done():
            answer.set_result(outcome)


def partition_number(actor: str, partitions: int) -> int:
    """Return the partition of an actor."""
    return partition_of(actor.encode(), partitions)
