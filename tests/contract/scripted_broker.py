"""A broker that answers produce requests as a test says: what no real one does on demand."""

import asyncio
import itertools
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Self

from aiokafka.protocol.admin import ApiVersionResponse_v0
from aiokafka.protocol.metadata import MetadataRequest_v5, MetadataResponse_v5
from aiokafka.protocol.produce import ProduceRequest_v7, ProduceResponse_v7

_PRODUCE, _METADATA, _API_VERSIONS = 0, 3, 18
_VERSIONS = [(_PRODUCE, 3, 7), (_METADATA, 0, 5)]
_PARTITIONS = 4

Outcome = tuple[int, int]
"""Error code and base offset."""


@dataclass(frozen=True)
class Produced:
    """A produce request, and the ways to answer it."""

    connection: int
    """Counted from 0, those without produce requests left out."""
    topics: Sequence[tuple[str, Sequence[tuple[int, bytes]]]]
    answer_bytes: Callable[[bytes], None]
    """Answer something that may be no answer at all."""
    drop: Callable[[], None]
    """Close the connection without one."""

    @property
    def partitions(self) -> Sequence[int]:
        """Those that it names, of all topics, in order."""
        return [number for _, partitions in self.topics for number, _ in partitions]

    def answer(self, *outcomes: Outcome) -> None:
        """Answer for each partition in order; a single outcome is that of all."""
        left = itertools.cycle(outcomes)
        told = [
            (topic, [(number, *next(left), -1, 0) for number, _ in partitions])
            for topic, partitions in self.topics
        ]
        self.answer_bytes(ProduceResponse_v7(told, 0).encode())


class ScriptedBroker:
    """Knows every topic and leaves produce requests to the test."""

    def __init__(self) -> None:
        self.produced: asyncio.Queue[Produced] = asyncio.Queue()
        self.leader: ScriptedBroker | None = self
        """Who leads all partitions, by its metadata."""
        self.ended: set[int] = set()
        """Connections that the client has ended."""
        self._appending: list[asyncio.StreamWriter] = []
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        """Listen on a free port of loopback."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close everything."""
        self._server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.sleep(0.01)

    @property
    def servers(self) -> str:
        """Its address."""
        return f"127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            while True:
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                frame = BytesIO(await reader.readexactly(size))
                key, _, correlation_id, length = struct.unpack(">hhih", frame.read(10))
                frame.read(length)  # the client's id
                self._handle(key, correlation_id, frame, writer)
        except (asyncio.IncompleteReadError, OSError):
            if writer in self._appending:
                self.ended.add(self._appending.index(writer))
            writer.close()

    def _handle(
        self, key: int, correlation_id: int, frame: BytesIO, writer: asyncio.StreamWriter
    ) -> None:
        def send(answer: bytes) -> None:
            body = struct.pack(">i", correlation_id) + answer
            writer.write(struct.pack(">i", len(body)) + body)

        if key == _API_VERSIONS:
            send(ApiVersionResponse_v0(0, _VERSIONS).encode())
        elif key == _METADATA:
            send(self._metadata(MetadataRequest_v5.decode(frame)))
        else:
            assert key == _PRODUCE
            if writer not in self._appending:
                self._appending.append(writer)
            topics = ProduceRequest_v7.decode(frame).topics
            number = self._appending.index(writer)
            self.produced.put_nowait(Produced(number, topics, send, writer.close))

    def _metadata(self, request: Any) -> bytes:
        leader = self.leader.port if self.leader else -1
        partitions: list[Any] = [
            (0, number, leader, [leader], [leader], []) for number in range(_PARTITIONS)
        ]
        topics = [(0, topic, False, partitions) for topic in request.topics or ()]
        ports = {self.port} | ({leader} if self.leader else set())
        brokers = [(port, "127.0.0.1", port, None) for port in ports]
        answer: bytes = MetadataResponse_v5(0, brokers, "cluster", self.port, topics).encode()
        return answer
