"""Gets every request answered, through whatever happens to the node.

A conversation is a generator of requests that is sent the answer to each. It sees good answers
only: a request that met a node which is gone, starts or is busy goes out again, the very same
bytes, and so with the same idempotency keys: what the node did execute, it answers from its record.
A request is a batch of calls, and each call has an outcome of its own; one that can be repeated
lets all of them go out again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from typing import NamedTuple

import msgspec

from examples.flights.connection import Answer, Connection

__all__ = [
    "Address",
    "Conversation",
    "DeliveryFailed",
    "Unanswered",
    "deliver",
    "first_failure",
]

Conversation = Generator[bytes, Answer, None]

PATIENCE_S = 60.0
"""For one request, repetitions included: a node that is not back by then needs help."""
PAUSE_MIN_S, PAUSE_MAX_S = 0.02, 0.25
"""Between two tries, doubled each time. All lanes knock: a node that is back is busy at once."""


class Address(NamedTuple):
    """Where a node listens."""

    host: str
    port: int


class DeliveryFailed(Exception):
    """An answer that no repetition will change."""


class Unanswered(Exception):
    """A request got no answer within its time."""


class Problem(msgspec.Struct):
    """What a node says when it can't answer (RFC 9457); the part that is used here."""

    code: str = "unknown"
    detail: str = ""
    hint: str = ""
    retryable: bool = False

    @property
    def may_be_repeated(self) -> bool:
        """Whether the same request is worth another try."""
        # Executed or not: with its key, it is safe to ask again.
        return self.retryable or self.code == "outcome-unknown"


class Outcome(msgspec.Struct):
    """What became of one call of a batch; the part that is used here."""

    status: int
    problem: Problem | None = None


async def deliver(
    conversations: Iterable[Conversation], address: Address, patience_s: float = PATIENCE_S
) -> Counter[str]:
    """Hold all conversations to their ends, each over one connection at a time.

    Returns why requests were repeated, and how often.

    Raises: DeliveryFailed, Unanswered, and what a conversation raises.
    """
    repeated: Counter[str] = Counter()
    lanes = [Lane(conversation, address, repeated) for conversation in conversations]
    try:
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(_watch(lanes, patience_s))
            async with asyncio.TaskGroup() as running:
                for lane in lanes:
                    running.create_task(lane.run())
            watch.cancel()
    except BaseExceptionGroup as failures:
        raise first_failure(failures) from None
    return repeated


class Lane:
    """One conversation; its connection is made again when it is lost."""

    def __init__(
        self, conversation: Conversation, address: Address, repeated: Counter[str]
    ) -> None:
        self.request = next(conversation, None)
        """The request that waits for its answer; None: the conversation has ended."""
        self.since = asyncio.get_running_loop().time()
        """When it was first sent."""
        self.obstacle = "no answer"
        """What it met last."""
        self._conversation = conversation
        self._address = address
        self._repeated = repeated

    async def run(self) -> None:
        """Hold the conversation to its end."""
        pause_s = PAUSE_MIN_S
        while self.request is not None:
            request = self.request
            try:
                await self._converse(request)
            except OSError as error:
                self.obstacle = _obstacle(error)
            if self.request is not None:
                self._repeated[self.obstacle] += 1
                pause_s = min(2 * pause_s, PAUSE_MAX_S) if self.request is request else PAUSE_MIN_S
                await asyncio.sleep(pause_s)

    async def _converse(self, request: bytes) -> None:
        """Go on over a new connection, until the end or an obstacle. Raises: OSError."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: Connection(request, self._on_answer), *self._address
        )
        try:
            await connection.stopped
        finally:
            connection.close()

    def _on_answer(self, answer: Answer) -> bytes | None:
        if failed := _failed(answer):
            self.obstacle = self._obstacle_of(failed)
            return None
        try:
            self.request = self._conversation.send(answer)
        except StopIteration:
            self.request = None
        self.since = asyncio.get_running_loop().time()
        return self.request

    def _obstacle_of(self, failed: Sequence[tuple[int, Problem]]) -> str:
        """Return what stands in the way for the moment. Raises: DeliveryFailed."""
        for status, problem in failed:
            if not problem.may_be_repeated:
                line = (self.request or b"").split(b"\r\n", 1)[0].decode()
                text = f"{line}: {status} {problem.detail} [{problem.code}]"
                raise DeliveryFailed(f"{text}\n  hint: {problem.hint}" if problem.hint else text)
        status, problem = failed[0]
        return f"{status} {problem.code}"


def _failed(answer: Answer) -> Sequence[tuple[int, Problem]]:
    """Return the status and problem of the whole request, or of each call that has one."""
    if answer.status == 200 and b'"problem"' not in answer.body:
        return ()
    try:
        if answer.status == 200:
            outcomes = msgspec.json.decode(answer.body, type=list[Outcome])
            return [(one.status, one.problem) for one in outcomes if one.problem is not None]
        problem = msgspec.json.decode(answer.body, type=Problem)
    except msgspec.DecodeError:
        problem = Problem(detail=answer.body[:200].decode(errors="replace"))
    return [(answer.status, problem)]


async def _watch(lanes: Iterable[Lane], patience_s: float) -> None:
    """Raises: Unanswered - as soon as one request has waited too long."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(min(1.0, patience_s / 4))
        for lane in lanes:
            if lane.request is not None and loop.time() - lane.since > patience_s:
                line = lane.request.split(b"\r\n", 1)[0].decode()
                raise Unanswered(f"{line}: no answer within {patience_s:g} s ({lane.obstacle})")


def _obstacle(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return "connection lost"


def first_failure(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return one failure of a task group: here they all tell of the same node."""
    failure = failures.exceptions[0]
    return first_failure(failure) if isinstance(failure, BaseExceptionGroup) else failure
