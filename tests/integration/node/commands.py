"""Commands as processes of their own, with the servers of some nodes."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

from tests.integration.node.running import Nodes

__all__ = ["Ended", "spawn", "start"]

_ROOT = Path(__file__).parents[3]
_PROGRAM = "from spawn.cli.main import main; main()"


class Ended(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        """Its JSON Lines."""
        return [json.loads(line) for line in self.out.splitlines()]


async def start(nodes: Nodes, *arguments: str) -> asyncio.subprocess.Process:
    """Start a command with the nodes' servers in its environment, and no terminal."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _PROGRAM,
        *arguments,
        cwd=nodes.folder,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(_ROOT),
            "SPAWN_SYSTEM": nodes.system,
            "SPAWN_KAFKA_BOOTSTRAP_SERVERS": nodes.kafka,
            "SPAWN_POSTGRES_DSN": nodes.dsn,
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def spawn(nodes: Nodes, *arguments: str) -> Ended:
    """Run a command to its end."""
    process = await start(nodes, *arguments)
    out, err = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())
