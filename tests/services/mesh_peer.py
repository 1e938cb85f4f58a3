"""A node's mesh alone, in a process of its own: for tests that kill or freeze it.

    python -m tests.services.mesh_peer PORT

It answers each Invoke with its payload, as node `peer` of system `shop`.
"""

from __future__ import annotations

import asyncio
import sys
import time

from spawn.mesh.grpc_mesh import GrpcMesh
from tests.services.mesh_receiver import KeepingReceiver


async def _serve(port: int) -> None:
    mesh = GrpcMesh(
        system="shop",
        node="peer",
        release="0.1.0",
        receiver=KeepingReceiver(),
        now=time.monotonic,
        port=port,
    )
    async with mesh.running():
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
