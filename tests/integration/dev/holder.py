"""A program that holds an embedded stack until it is killed: what `spawn dev` is to its servers.

    python holder.py DATA_FOLDER [PART ...]

It prints one line of JSON when the stack is up, with the addresses and pids.
"""

import asyncio
import json
import sys
from pathlib import Path

from spawn.dev import EmbeddedStack


async def hold(folder: Path, parts: list[str]) -> None:
    """Start the stack, say what runs where, and wait."""
    async with EmbeddedStack(
        folder, kafka="kafka" in parts, postgres="postgres" in parts, nats="nats" in parts
    ) as stack:
        found = stack.endpoints
        line = {"pids": dict(found.pids), "dsn": found.postgres_dsn, "kafka": found.kafka_bootstrap}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(hold(Path(sys.argv[1]), sys.argv[2:] or ["kafka", "postgres", "nats"]))
