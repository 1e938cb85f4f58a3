"""A raw HTTP client: what a test writes is what goes over the socket, byte for byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from spawn.api import Access, HttpLimits, HttpServer
from spawn.core.system_view import SystemView
from tests.integration.api.fake_ingress import FakeIngress


class Reply(NamedTuple):
    """One answer."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send a request; `path` goes as it is."""
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode() + (body or b""))

    async def reply(self, *, head_only: bool = False) -> Reply:
        """Read one answer. Raises: EOFError when the server closed the connection instead."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            raise EOFError(error.partial) from error
        first, *lines = head.decode().rstrip("\r\n").split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        length = 0 if head_only else int(headers.get("content-length", 0))
        return Reply(int(first.split()[1]), headers, await self.reader.readexactly(length))

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send a request and read its answer."""
        self.request(method, path, body, headers)
        return await self.reply(head_only=method == "HEAD")

    async def closed(self) -> bool:
        """Wait until the server has closed the connection."""
        return await self.reader.read(1) == b""


class Served(NamedTuple):
    """A running server and what is behind it."""

    server: HttpServer
    ingress: FakeIngress
    wire: Wire

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Wire]:
        """Open one more connection."""
        async with connect(self.server.port) as wire:
            yield wire


@asynccontextmanager
async def connect(port: int) -> AsyncIterator[Wire]:
    """Open a connection to a port of this machine."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()
        try:
            await writer.wait_closed()
        except ConnectionError:
            pass


@asynccontextmanager
async def serving(
    limits: HttpLimits | None = None,
    *,
    express: bool = True,
    access: Access | None = None,
    view: SystemView | None = None,
) -> AsyncIterator[Served]:
    """Serve a fake ingress on a free port, with one connection open; `h` is a name of it."""
    ingress = FakeIngress()
    server = HttpServer(
        ingress,
        new_error_id=lambda: "e77",
        port=0,
        limits=limits,
        access=access or Access(allowed_hosts=["h"]),
        express=express,
        view=view,
    )
    await server.start()
    try:
        async with connect(server.port) as wire:
            yield Served(server, ingress, wire)
    finally:
        if ingress.gate is not None:
            ingress.gate.set()
        await server.stop(grace_s=1.0)
