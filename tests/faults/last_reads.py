"""When all is over: each actor read once more through each node, for the checker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from tests.faults.connection import Answer, Connection, request
from tests.faults.history import Attempt, Outcome

__all__ = ["read_actors"]

_TIMEOUT_S: Final = 5.0
_ALL_S: Final = 30.0
"""A node that can't answer so long is a problem, and not asked for the rest."""
_AGAIN_S: Final = 0.2


async def read_actors(
    node: str, port: int, actors: Sequence[Sequence[str]], first: int
) -> tuple[list[Attempt], list[str]]:
    """Read actors, given by partition, through one node; return what was seen, and what failed.

    `first` is the number of the first read; others may have none of those from there.
    """
    seen: list[Attempt] = []
    unread: list[int] = []
    loop = asyncio.get_running_loop()
    number = first
    deadline = time.monotonic() + _ALL_S
    for partition, ids in enumerate(actors):
        for actor in ids:
            number += 1
            answer, sent = None, time.monotonic()
            while (sent := time.monotonic()) < deadline:
                answer = await _look(loop, port, actor)
                if answer is not None and answer.status == 200:
                    break
                await asyncio.sleep(_AGAIN_S)
            if answer is None or answer.status != 200:
                unread.append(partition)
                break
            seen.append(
                Attempt(
                    number,
                    actor,
                    partition,
                    False,
                    sent,
                    sent,
                    time.monotonic(),
                    node,
                    Outcome.DONE,
                    answer.revision,
                    int(answer.body),
                    answer.offset,
                )
            )
    if not unread:
        return seen, []
    return seen, [f"{node}: actors of partitions {unread} can't be read in the end"]


async def _look(loop: asyncio.AbstractEventLoop, port: int, actor: str) -> Answer | None:
    """Return the answer to one read; None: there was none."""
    answered: asyncio.Future[Answer | None] = loop.create_future()

    def take(answer: Answer | None) -> None:
        if not answered.done():
            answered.set_result(answer)

    try:
        async with asyncio.timeout(_TIMEOUT_S):
            _, connection = await loop.create_connection(
                lambda: Connection(lambda _: None, lambda _: None), "127.0.0.1", port
            )
            try:
                content = request(f"/v1/actors/Ledger/{actor}/look", "", int(_TIMEOUT_S * 1000))
                connection.ask(content, take)
                return await answered
            finally:
                connection.close()
    except (OSError, TimeoutError):
        return None
