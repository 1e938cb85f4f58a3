"""The HTTP server of a node: sockets, start and stop."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from spawn.api.access import Access
from spawn.api.connection import Connection, ConnectionFactory
from spawn.api.limits import HttpLimits
from spawn.api.routes import Routes
from spawn.core.ingress import Ingress
from spawn.core.system_view import SystemView
from spawn.errors import InvalidSettings, PortTaken, StartRefused

__all__ = ["HttpLimits", "HttpServer", "reserve"]

_BACKLOG: Final = 1024
"""Connections that the kernel holds until we accept them: a burst of callers, or a restart under
a supervisor that keeps the socket open, must not be refused."""
_HANDSHAKE_S: Final = 10.0
"""For TLS to be agreed upon: a connection counts from then on, so until then it must be short."""
_TAKEN_S: Final = 0.05
"""For the request of a connection that was taken just before the end: it follows at once."""
_CUT_S: Final = 0.1
"""For handlers to see that they were cancelled, after the grace has passed."""


class HttpServer:
    """Serves one `Ingress`; started once, stopped once.

    Settings and dice are the caller's: `new_error_id` makes the id under which an
    unforeseen error is logged and told.
    """

    def __init__(
        self,
        ingress: Ingress,
        *,
        new_error_id: Callable[[], str],
        host: str = "127.0.0.1",
        port: int = 9001,
        limits: HttpLimits | None = None,
        access: Access | None = None,
        tls: ssl.SSLContext | None = None,
        express: bool = True,
        view: SystemView | None = None,
    ) -> None:
        """Make a server; without `express` aiohttp serves everything, as tests compare it.

        `view` is what the node knows of others; without it nothing is told of them. Without
        `access` it answers without a token to names of this machine and of `host`.
        """
        self._host = host
        self._port = port
        self._limits = limits or HttpLimits()
        self._express = express
        self._tls = tls
        access = access or Access(host=host)
        self._routes = Routes(ingress, self._limits, access, new_error_id, view)
        self._connections: ConnectionFactory | None = None
        self._listener: asyncio.Server | None = None
        self._loop: asyncio.AbstractEventLoop

    @property
    def addresses(self) -> list[Any]:
        """Where it listens: `(host, port)` pairs, or paths of Unix sockets; empty: nowhere."""
        if self._listener is None:
            return []
        return [opened.getsockname() for opened in self._listener.sockets]

    @property
    def port(self) -> int:
        """The port that it listens on; given 0, the one that the kernel chose."""
        return int(self.addresses[0][1]) if self.addresses else self._port

    async def start(self, sock: socket.socket | None = None) -> None:
        """Listen and serve: on `sock` where it is given (a supervisor's), else on host and port.

        Raises: PortTaken, InvalidSettings (the address is none of this machine, or not allowed).
        """
        loop = self._loop = asyncio.get_running_loop()
        self._connections = ConnectionFactory(
            self._routes,
            express=self._express,
            request_factory=self._new_request,
            access_log=None,
            auto_decompress=False,
        )
        handshake_s = None if self._tls is None else _HANDSHAKE_S
        try:
            if sock is not None:
                self._listener = await loop.create_server(
                    self._connections,
                    sock=sock,
                    backlog=_BACKLOG,
                    ssl=self._tls,
                    ssl_handshake_timeout=handshake_s,
                )
            else:
                self._listener = await loop.create_server(
                    self._connections,
                    self._host,
                    self._port,
                    backlog=_BACKLOG,
                    ssl=self._tls,
                    ssl_handshake_timeout=handshake_s,
                )
        except OSError as error:
            raise _no_listening(self._host, self._port, error) from error

    def send_away(self) -> None:
        """From now on answers ask their client to close the connection; new ones are taken."""
        self._routes.closing = True

    async def stop_listening(self) -> None:
        """Take no new connections, but serve those that were just taken for a moment more.

        For whoever shares the socket with the next node: what comes from now on waits for that
        one, and a call whose connection was taken here is still answered here. Answers ask their
        client to close the connection.
        """
        if self._listener is None:
            return
        self._routes.closing = True
        self._listener.close()
        self._listener = None
        await asyncio.sleep(_TAKEN_S)

    async def stop(self, grace_s: float) -> None:
        """Take no new connections, let requests end for `grace_s`, then cut them off.

        Answers given meanwhile ask the client to close its connection. A request that is cut off
        gets no answer; its command is not undone. May be called again after it was cancelled.
        """
        routes, connections = self._routes, self._connections
        if connections is None:
            return
        routes.closing = True
        routes.streams.close()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for connection in connections.connections:
            if isinstance(connection, Connection) and not connection.answering:
                connection.force_close()
        # Not aiohttp's own shutdown at once: that one drops the rest of bodies still being sent.
        deadline = asyncio.get_running_loop().time() + grace_s
        try:
            async with asyncio.timeout(grace_s):
                await routes.wait_idle()
        except TimeoutError:
            pass
        left_s = deadline - asyncio.get_running_loop().time()
        await connections.shutdown(max(left_s, _CUT_S))
        self._connections = None

    def _new_request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        return web.BaseRequest(
            message,
            payload,
            protocol,
            writer,
            task,
            self._loop,
            client_max_size=self._limits.body_bytes_max,
        )


def reserve(host: str, port: int) -> socket.socket:
    """Bind an address without listening: nobody else can take it, callers are still refused.

    Raises: PortTaken, InvalidSettings (the address is none of this machine, or not allowed).
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        reserved = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _no_listening(host, port, error) from error
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        reserved.bind(address)
    except OSError as error:
        reserved.close()
        raise _no_listening(host, port, error) from error
    return reserved


def _no_listening(host: str, port: int, error: OSError) -> StartRefused:
    """Say what an address that can't be listened on needs."""
    if error.errno == errno.EADDRINUSE:
        return PortTaken(
            f"port {port} on {host} is in use",
            at="http.port (SPAWN_HTTP_PORT)",
            hint=f"another node? `ss -ltnp sport = :{port}` names the process; "
            "--http-port takes another port",
        )
    return InvalidSettings(
        f"can't listen on {host} port {port} ({os.strerror(error.errno)})"
        if error.errno and error.errno > 0
        else f"can't listen on {host} port {port} ({error})",
        at="http.host and http.port (SPAWN_HTTP_HOST, SPAWN_HTTP_PORT)",
        hint="host is a name or address of this machine; ports below 1024 need a privilege",
    )
