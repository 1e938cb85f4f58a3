"""Free TCP ports on loopback, taken from below the range that the system hands out itself.

A port from the system's own range can be grabbed at any moment by somebody's outgoing connection,
also while the server that had it is down for a restart; a client that keeps trying to reach that
server may even connect to itself and hold the port.
"""

from __future__ import annotations

import random
import socket
from pathlib import Path

from spawn.dev.errors import StackError

__all__ = ["HOST", "is_port_taken", "pick_port"]

HOST = "127.0.0.1"

_LOWEST_PORT = 20_000
"""Below live the ports that people and databases like."""

_TRIES = 200

_dice = random.SystemRandom()


def pick_port() -> int:
    """Return a port of loopback on which nothing listens now. Another process may take it at once.

    Raises: StackError - none was found.
    """
    for _ in range(_TRIES):
        port = _dice.randrange(_LOWEST_PORT, _first_ephemeral_port())
        if not is_port_taken(port):
            return port
    raise StackError(
        f"no free TCP port was found on {HOST} in {_TRIES} tries",
        at=f"ports {_LOWEST_PORT} to {_first_ephemeral_port() - 1}",
        hint="end what holds them (ss -ltn lists it)",
    )


def is_port_taken(port: int) -> bool:
    """Return whether a server could not listen on this port of loopback now."""
    with socket.socket() as probe:
        # As the servers do: connections of an earlier server that fade out do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return True
    return False


def _first_ephemeral_port() -> int:
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        # macOS and the BSDs start at 49152.
        return 49_152
    # A machine whose own range starts this low leaves no better choice.
    return first if first > _LOWEST_PORT + _TRIES else 65_536
