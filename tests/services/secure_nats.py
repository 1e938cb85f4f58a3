"""NATS with TLS and logins, on loopback; each server starts in some 50 ms."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from spawn.dev import binaries
from tests.services.certificates import Authority, Pair
from tests.services.keeper import KeptProcess
from tests.services.ports import free_port

__all__ = ["nats_server"]

_START_S: Final = 20.0


@contextlib.contextmanager
def nats_server(
    folder: Path,
    *,
    pair: Pair | None = None,
    clients_of: Authority | None = None,
    authorization: dict[str, str] | None = None,
) -> Iterator[str]:
    """Run a server; yield `127.0.0.1:port`. With `clients_of` it wants clients' certificates."""
    port = free_port()
    config: dict[str, Any] = {"host": "127.0.0.1", "port": port}
    if pair is not None:
        tls: dict[str, Any] = {"cert_file": str(pair.cert), "key_file": str(pair.key)}
        if clients_of is not None:
            tls |= {"ca_file": str(clients_of.cert), "verify": True}
        config["tls"] = tls
    if authorization is not None:
        config["authorization"] = authorization
    file = folder / f"nats-{port}.conf"
    file.write_text(json.dumps(config))
    server = KeptProcess(
        [str(binaries.nats_server()), "--config", str(file)], log=folder / f"nats-{port}.log"
    )
    try:
        deadline = time.monotonic() + _START_S
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            assert time.monotonic() < deadline, "nats-server does not listen"
            time.sleep(0.02)
        yield f"127.0.0.1:{port}"
    finally:
        server.kill()
