"""The load's connections to one node: opened as needed, left behind where it is frozen."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from tests.faults.connection import Connection

__all__ = ["Pool"]

_CONNECTIONS_MAX: Final = 400
"""To one node; a node that is frozen for long takes one for each operation."""


class Pool:
    """The connections to one node."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self._port = port
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._connecting = 0
        self.is_wanted = True

    async def connection(self) -> Connection | None:
        """Return a connection that is free; None: there is none to be had."""
        if self._idle:
            return self._idle.pop()
        if len(self._open) + self._connecting >= _CONNECTIONS_MAX:
            return None
        self._connecting += 1
        try:
            _, made = await asyncio.get_running_loop().create_connection(
                lambda: Connection(self._free, self._lost), "127.0.0.1", self._port
            )
        except OSError:
            return None
        finally:
            self._connecting -= 1
        self._open.add(made)
        return made

    def take_idle(self) -> Connection | None:
        """Return a connection that is free already."""
        return self._idle.pop() if self._idle else None

    def _free(self, connection: Connection) -> None:
        if self.is_wanted:
            self._idle.append(connection)
        else:
            connection.close()

    def _lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)

    def leave(self) -> None:
        """Open no more; what is asked may still be answered."""
        self.is_wanted = False
        for each in self._idle:
            each.close()

    def close(self) -> None:
        """End all connections."""
        for each in list(self._open):
            each.close()
