"""The relay that cuts off nodes: what it holds back arrives later, whole and in order."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.faults.gate import Gate

SHORT_S = 0.1
PATIENT_S = 5.0


class Ends:
    """A client's connection through a gate, and the server's end of it."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.accepted: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
        self.accepted = asyncio.Queue()

    async def client(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the gate."""
        return await asyncio.open_connection("127.0.0.1", self.gate.port)

    async def server(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return the server's end of the next connection."""
        async with asyncio.timeout(PATIENT_S):
            return await self.accepted.get()


@asynccontextmanager
async def relayed(name: str = "n1") -> AsyncIterator[Ends]:
    """A server behind a gate that knows this process by a name."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends.accepted.put_nowait((reader, writer))

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    gate = Gate(listener.sockets[0].getsockname()[1], pids=lambda: {name: os.getpid()})
    ends = Ends(gate)
    await gate.open()
    try:
        yield ends
    finally:
        gate.close()
        listener.close()
        await asyncio.sleep(0)


async def arrives(reader: asyncio.StreamReader, data: bytes) -> bool:
    """Whether these bytes come soon."""
    try:
        async with asyncio.timeout(SHORT_S):
            return await reader.readexactly(len(data)) == data
    except TimeoutError:
        return False


async def test_bytes_and_ends_go_through() -> None:
    """A relay that nobody has cut is not noticed."""
    async with relayed() as ends:
        reader, writer = await ends.client()
        there, back = await ends.server()
        big = os.urandom(1_000_000)
        writer.write(big)
        assert await there.readexactly(len(big)) == big
        back.write(b"yes")
        assert await arrives(reader, b"yes")
        writer.write_eof()
        assert await there.read() == b""
        back.write(b"end")
        back.close()
        assert await reader.read() == b"end"
        writer.close()


async def test_a_cut_holds_both_directions_until_it_heals() -> None:
    """Nothing arrives, no connection breaks, and then all of it comes."""
    async with relayed() as ends:
        reader, writer = await ends.client()
        there, back = await ends.server()
        ends.gate.cut("n1")
        writer.write(b"one")
        back.write(b"two")
        assert not await arrives(there, b"one")
        assert not await arrives(reader, b"two")
        ends.gate.heal()
        assert await arrives(there, b"one")
        assert await arrives(reader, b"two")
        writer.close()
        back.close()


async def test_a_cut_of_one_direction_lets_the_other_one_through() -> None:
    """What the server sends arrives, what it is sent does not, and the other way round."""
    for toward in (True, False):
        async with relayed() as ends:
            reader, writer = await ends.client()
            there, back = await ends.server()
            ends.gate.cut("n1", toward=toward, back=not toward)
            writer.write(b"one")
            back.write(b"two")
            assert await arrives(there, b"one") is not toward
            assert await arrives(reader, b"two") is toward
            writer.close()
            back.close()


async def test_a_new_connection_waits_while_it_is_cut() -> None:
    """The kernel accepts it; the server hears of it when the cut is healed."""
    async with relayed() as ends:
        ends.gate.cut("n1", back=False)
        _, writer = await ends.client()
        writer.write(b"one")
        await asyncio.sleep(SHORT_S)
        assert ends.accepted.empty()
        ends.gate.heal()
        there, back = await ends.server()
        assert await arrives(there, b"one")
        writer.close()
        back.close()


async def test_who_is_not_named_is_let_through() -> None:
    """The cut of another process."""
    async with relayed("n1") as ends:
        ends.gate.cut("n2")
        _, writer = await ends.client()
        there, back = await ends.server()
        writer.write(b"one")
        assert await arrives(there, b"one")
        assert ends.gate.connections("n1") == 1
        writer.close()
        back.close()


async def test_a_reset_breaks_connections() -> None:
    """Both ends learn of it at once."""
    async with relayed() as ends:
        reader, writer = await ends.client()
        there, back = await ends.server()
        ends.gate.reset("n1")
        async with asyncio.timeout(PATIENT_S):
            for each in (reader, there):
                try:
                    assert await each.read() == b""
                except ConnectionError:
                    pass
        writer.close()
        back.close()
