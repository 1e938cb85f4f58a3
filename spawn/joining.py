"""How a node joins its system: mesh, router, roll, group and membership put together (design 3.3).

A part of the composition root (`spawn.node`): ports meet their adapters here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Final

import spawn
from eventstore.kafka_group import kafka_group_member
from eventstore.kafka_log import KafkaLog
from eventstore.log import TopicPartition
from eventstore.postgres_snapshots import PostgresSnapshots
from spawn.api.server import reserve
from spawn.cluster.members import Member
from spawn.config import Settings
from spawn.connections import to_kafka
from spawn.core.ids import group_of, nodes_topic
from spawn.core.system_view import SystemView
from spawn.errors import PortTaken
from spawn.exposure import advertised_url, mesh_tls_of
from spawn.membership.membership import Membership, MembershipPlan
from spawn.membership.roll import Roll
from spawn.membership.view import MembershipView
from spawn.mesh.grpc_mesh import GrpcMesh
from spawn.mesh.wire import LEAST_VERSION, VERSION
from spawn.routing.router import Router
from spawn.runtime.clock import SystemClock, random_id
from spawn.runtime.dispatcher import NodeDispatcher
from spawn.runtime.node import Node
from spawn.runtime.tasks import first_error

__all__ = ["Joining"]

_ANY_PORT: Final = 0


class Joining:
    """One node's way into its system."""

    def __init__(
        self,
        settings: Settings,
        log: KafkaLog,
        store: PostgresSnapshots,
        topics: Mapping[str, int],
        http_port: int,
    ) -> None:
        """`topics` are those of the hosted types; `http_port` is where programs are served."""
        self._settings, self._log, self._store = settings, log, store
        self._topics, self._http = topics, advertised_url(settings, http_port)
        self._clock = SystemClock()
        self._now = asyncio.get_running_loop().time
        self._router: Router | None = None

    def route(self, dispatcher: NodeDispatcher) -> Router:
        """Make the node's way to the others (for its `NodePlan`)."""
        self._router = Router(dispatcher, self._now, _dice, self._clock.time_us, random_id)
        return self._router

    @contextlib.asynccontextmanager
    async def joined(self, node: Node) -> AsyncIterator[tuple[Membership, SystemView]]:
        """Take part in the system while the body runs.

        An error that ends membership (GroupRefused) cancels the body and is raised from here.

        Raises: PortTaken, InvalidSettings, GroupRefused, LogError.
        """
        router = self._router
        assert router is not None, "the node was made with this `route`"
        try:
            async with self._listening(node, router) as mesh:
                router.use(mesh)
                node.context.endpoint = mesh.hello.endpoint
                membership = Membership(self._plan(node, router))
                async with asyncio.TaskGroup() as tasks:
                    running = tasks.create_task(membership.run(), name="membership")
                    yield membership, MembershipView(membership, router)
                    running.cancel()
        except BaseExceptionGroup as group:
            raise first_error(group) from group

    def _listening(
        self, node: Node, router: Router
    ) -> contextlib.AbstractAsyncContextManager[GrpcMesh]:
        """Listen for other nodes; where nobody chose the port and it is taken, on any other."""
        settings = self._settings
        mesh, port = settings.mesh, settings.mesh.port
        is_chosen = settings.source("mesh.port").kind != "default" or bool(mesh.advertise)
        if not is_chosen and not _is_free(mesh.host, port):
            port = _ANY_PORT
        return GrpcMesh(
            system=settings.system,
            node=node.context.owner.hex(),
            release=spawn.__version__,
            receiver=router.peers,
            now=self._now,
            host=mesh.host,
            port=port,
            endpoint=mesh.advertise,
            tls=mesh_tls_of(settings),
        ).running()

    def _plan(self, node: Node, router: Router) -> MembershipPlan:
        settings, log = self._settings, self._log
        roll = TopicPartition(nodes_topic(settings.system), 0)
        return MembershipPlan(
            me=Member(
                node_id=node.context.owner,
                mesh=node.context.endpoint,
                http=self._http,
                release=spawn.__version__,
                protocol=VERSION,
                protocol_min=LEAST_VERSION,
                topics=self._topics,
                types=node.dispatcher.hosted(),
            ),
            router=router,
            roll=Roll(log, settings.system),
            group=lambda participant: kafka_group_member(
                to_kafka(settings), group_of(settings.system), participant
            ),
            probes={"the log": lambda: log.bounds(roll), "the database": self._store.ping},
            serves=node.dispatcher.serves,
            now=self._now,
            time_ms=lambda: self._clock.time_us() // 1000,
        )


def _dice() -> float:
    return int.from_bytes(random_id()[:4]) / 2**32


def _is_free(host: str, port: int) -> bool:
    try:
        with reserve(host, port):
            return True
    except PortTaken:
        return False
