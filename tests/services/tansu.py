"""The embedded broker, Tansu, with an empty log in memory."""

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from spawn.dev import binaries
from tests.services.keeper import KeptProcess
from tests.services.ports import free_port

_START_TIMEOUT_S = 10


@contextlib.contextmanager
def tansu(folder: Path) -> Iterator[str]:
    """Run one until the end of the block; its address for clients. Its output is in `folder`."""
    address = f"127.0.0.1:{free_port()}"
    url = f"tcp://{address}"
    command = [str(binaries.tansu()), "broker", "--storage-engine", "memory://tansu/"]
    command += ["--listener-url", url, "--advertised-listener-url", url]
    broker = KeptProcess(command, log=folder / "tansu.log")
    try:
        _wait_listening(address)
        yield address
    finally:
        broker.kill()


def _wait_listening(address: str) -> None:
    host, port = address.split(":")
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
