"""Who is told what links bring, for tests: it keeps all of it, and answers like an owner."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from spawn.mesh.link import Ended, Link
from spawn.mesh.wire import Invoke, Message, Reply

__all__ = ["KeepingReceiver", "until"]


class KeepingReceiver:
    """Implements `spawn.mesh.link.Receiver`. An Invoke is answered with its payload."""

    def __init__(self) -> None:
        self.links: list[Link] = []
        """Those opened, in order."""
        self.frames: list[list[Message]] = []
        self.ends: list[tuple[Link, Ended]] = []

    @property
    def messages(self) -> list[Message]:
        """All received, in order."""
        return [message for frame in self.frames for message in frame]

    async def has_ends(self, count: int = 1) -> None:
        """Wait until so many links have ended."""
        await until(lambda: len(self.ends) >= count)

    async def has(self, message: Message) -> None:
        """Wait until a message has been received."""
        await until(lambda: any(message in frame for frame in self.frames))

    def opened(self, link: Link) -> None:
        self.links.append(link)

    def received(self, link: Link, messages: Sequence[Message]) -> None:
        self.frames.append(list(messages))
        for message in messages:
            if isinstance(message, Invoke):
                link.post(Reply(message.id, message.payload, 1, 0, 0))

    def ended(self, link: Link, ended: Ended) -> None:
        self.ends.append((link, ended))


async def until(holds: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Wait until a condition holds. Raises: TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while not holds():
            await asyncio.sleep(0.005)
