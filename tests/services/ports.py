"""Free ports on loopback for servers that must be told one."""

import random
import socket
from pathlib import Path

# Above the well-known ones, below the range from which the kernel takes the local ports of outgoing
# connections: a port in there may be taken by one between the question here and the server's bind,
# or while the server is down for a test.
_FIRST, _LAST = 20_000, 32_000
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_TRIES_MAX = 200

_given: set[int] = set()


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 on which nobody listens; never the same one twice."""
    last = _LAST
    if _EPHEMERAL_RANGE.exists():
        last = min(last, int(_EPHEMERAL_RANGE.read_text(encoding="ascii").split()[0]) - 1)
    first = min(_FIRST, last // 2)
    for _ in range(_TRIES_MAX):
        port = random.randint(first, last)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    raise RuntimeError(f"no free port between {first} and {last} in {_TRIES_MAX} tries")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
