"""A relay in front of one server, which cuts off who is told to, in both directions or in one.

A cut holds bytes back, as a network that loses packets does: connections stay open, nothing
arrives, and what was held arrives once the cut is healed (TCP sends it again). New connections are
accepted by the kernel and then hold. `reset` breaks connections instead, as a firewall that
refuses.

Broker and database have a gate for each node. The nodes themselves have one each, which all others
use: on loopback no address tells who they are, so the kernel's tables are asked which process has
the other end. That takes milliseconds, which is little for links that last.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, cast

from tests.services.ports import free_port

__all__ = ["Gate"]

_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_BUFFER_BYTES_MAX: Final = 256 * 1024


class Gate:
    """Relays a port to a server at another port, or at a socket file."""

    def __init__(
        self,
        server: int | Path,
        *,
        only: str = "",
        pids: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        """`only` names the only one who connects; else `pids` has the processes of those who do."""
        self.port = free_port()
        self._server = server
        self._only = only
        self._pids = pids
        self._toward: set[str] = set()
        """Whose bytes do not reach the server."""
        self._back: set[str] = set()
        """Whom the server's bytes do not reach."""
        self._relays: set[_Relay] = set()
        self._listener: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: _Relay(self), "127.0.0.1", self.port)

    def close(self) -> None:
        """Listen no more, and end all connections."""
        if self._listener is not None:
            self._listener.close()
        for relay in list(self._relays):
            relay.end()

    def cut(self, *names: str, toward: bool = True, back: bool = True) -> None:
        """Hold what these send to the server, what it sends to them, or both."""
        if toward:
            self._toward |= set(names)
        if back:
            self._back |= set(names)
        self._apply()

    def heal(self) -> None:
        """Let everything through, what was held first."""
        self._toward.clear()
        self._back.clear()
        self._apply()

    def reset(self, *names: str) -> None:
        """Break the connections of these."""
        for relay in [each for each in self._relays if each.name in names]:
            relay.end()

    def connections(self, name: str) -> int:
        """How many connections someone has."""
        return sum(relay.name == name for relay in self._relays)

    def _apply(self) -> None:
        for relay in list(self._relays):
            relay.apply()

    # --- for its relays ---

    def is_held(self, name: str, *, toward: bool) -> bool:
        """Whether one direction is cut."""
        return name in (self._toward if toward else self._back)

    def is_cut(self, name: str) -> bool:
        """Whether someone can't connect, which takes both directions."""
        return name in self._toward or name in self._back

    def joined(self, relay: _Relay) -> None:
        """A connection has come."""
        self._relays.add(relay)

    def left(self, relay: _Relay) -> None:
        """A connection is gone."""
        self._relays.discard(relay)

    def who(self, port: int) -> str:
        """Return who has the local port of a connection to the gate; empty: somebody else."""
        if self._only:
            return self._only
        inode = _inode(port, self.port)
        if not inode:
            return ""
        wanted = f"socket:[{inode}]"
        for name, pid in self._pids().items():
            with contextlib.suppress(OSError):
                for each in Path(f"/proc/{pid}/fd").iterdir():
                    with contextlib.suppress(OSError):
                        if str(each.readlink()) == wanted:
                            return name
        return ""

    async def connect(self, protocol: asyncio.Protocol) -> None:
        """Connect to the server."""
        loop = asyncio.get_running_loop()
        if isinstance(self._server, Path):
            await loop.create_unix_connection(lambda: protocol, str(self._server))
        else:
            await loop.create_connection(lambda: protocol, "127.0.0.1", self._server)


def _inode(local: int, remote: int) -> str:
    """Return the socket's inode of the connection between two ports; empty: there is none."""
    for table in _TABLES:
        with contextlib.suppress(OSError):
            for line in table.read_text(encoding="ascii").splitlines()[1:]:
                words = line.split()
                ends = [int(word.rpartition(":")[2], 16) for word in words[1:3]]
                if ends == [local, remote] and words[9] != "0":
                    return words[9]
    return ""


class _End(asyncio.Protocol):
    """One of a relay's two connections: what it reads the other one writes."""

    def __init__(self, relay: _Relay, *, toward: bool) -> None:
        self._relay = relay
        self._toward = toward
        self.other: _End | None = None
        self.transport: asyncio.Transport | None = None
        self.is_choked = False
        """The other one has more to write than it should hold."""
        self._is_paused = False
        self._has_ended = False
        self._held = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(_BUFFER_BYTES_MAX)
        self.apply()

    def data_received(self, data: bytes) -> None:
        # Under CPython 3.11.2 a transport that is paused as soon as it is made reads all the same.
        self._held += data
        self._pass_on()

    def _pass_on(self) -> None:
        """Give the other one what came, unless it is cut off."""
        if not self._held or self._relay.is_held(toward=self._toward):
            return
        if self.other is not None and self.other.transport is not None:
            data, self._held = bytes(self._held), bytearray()
            self.other.transport.write(data)
            if self._has_ended:
                self._end_other()

    def eof_received(self) -> bool:
        self._has_ended = True
        if self.other is None or self.other.transport is None:
            return bool(self._held)
        if not self._held:
            self._end_other()
        return not self.other._has_ended

    def _end_other(self) -> None:
        """The other one has nothing more to write."""
        if self.other is not None and self.other.transport is not None:
            with contextlib.suppress(OSError, RuntimeError):
                self.other.transport.write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        self._relay.lost(self)

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.is_choked = True
            self.other.apply()

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.is_choked = False
            self.other.apply()

    def apply(self) -> None:
        """Read, or don't."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        self._pass_on()
        paused = self.is_choked or self._relay.is_held(toward=self._toward)
        if paused != self._is_paused:
            self._is_paused = paused
            if paused:
                transport.pause_reading()
            else:
                transport.resume_reading()


class _Relay(_End):
    """A connection to the gate, and the one that it has to the server."""

    def __init__(self, gate: Gate) -> None:
        super().__init__(self, toward=True)
        self._gate = gate
        self._is_connecting = False
        self.name = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.name = self._gate.who(transport.get_extra_info("peername")[1])
        self._gate.joined(self)
        super().connection_made(transport)

    def is_held(self, *, toward: bool) -> bool:
        """Whether a direction waits: for the cut to heal, or for the server to be connected."""
        return self.other is None or self._gate.is_held(self.name, toward=toward)

    def apply(self) -> None:
        if self.other is not None:
            self.other.apply()
        elif not self._is_connecting and not self._gate.is_cut(self.name):
            self._is_connecting = True
            self._task = asyncio.get_running_loop().create_task(self._connect())
        super().apply()

    async def _connect(self) -> None:
        server = _End(self, toward=False)
        try:
            await self._gate.connect(server)
        except OSError:
            self.end()
            return
        if self.transport is None or self.transport.is_closing():
            if server.transport is not None:
                server.transport.abort()
            return
        server.other, self.other = self, server
        self.apply()

    def lost(self, end: _End) -> None:
        """One of the two is gone: the other one goes once it has written what it holds."""
        self._gate.left(self)
        for each in (self, self.other):
            if each is not None and each is not end and each.transport is not None:
                each.transport.close()

    def end(self) -> None:
        """Break both."""
        for each in (self, self.other):
            if each is not None and each.transport is not None:
                each.transport.abort()
