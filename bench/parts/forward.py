"""Where the CPU time of a forwarded call goes, on both of its nodes: cProfile under load.

.venv/bin/python -m bench.parts.forward [--seconds S] [--action add|total]
"""

from __future__ import annotations

import argparse
import asyncio

from bench.__main__ import servers
from bench.scenarios.forward import two_nodes


async def _main(seconds: float, action: str) -> None:
    load = {"action": action, "callers": 256, "seconds": seconds}
    async with servers(2.0, {"runs": 1, "seconds": seconds, "quick": True}) as world:
        async with two_nodes(world) as nodes:
            await nodes.other.ask(load)
            told = await nodes.other.ask({**load, "profile": True})
            print(f"the node that is called\n{told['profile']}")
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(nodes.other.ask({**load, "seconds": seconds + 2}))
                await asyncio.sleep(1.5)
                told = await nodes.owner.ask({"profile_s": seconds})
            print(f"the owner\n{told['profile']}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.parts.forward", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--action", choices=["add", "total"], default="add")
    options = parser.parse_args()
    asyncio.run(_main(options.seconds, options.action))
