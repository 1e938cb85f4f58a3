"""A system whose nodes run different versions of its actors, one after the other."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any, Final

from eventstore.log import EventLog, LogAdmin, TopicSettings
from eventstore.memory_snapshots import MemorySnapshots
from spawn import System
from spawn.core.ids import schemas_topic
from spawn.core.ingress import Call
from spawn.provision import ensure_schemas
from spawn.runtime.context import RuntimeSettings
from spawn.runtime.dispatcher import NodeDispatcher
from spawn.runtime.node import Node, NodePlan

__all__ = ["Rolling", "ask"]

_serial: Final = itertools.count(1)


class Rolling:
    """One log and one store; each type has one partition."""

    def __init__(self, log: EventLog, admin: LogAdmin) -> None:
        self.name = f"rolling{next(_serial)}"
        self.log, self.admin = log, admin
        self.store = MemorySnapshots()
        self.schemas = schemas_topic(self.name)
        self.topics = {f"spawn.{self.name}.{name}": 1 for name in ("Cart", "Note")}

    async def create(self) -> None:
        """Make the topics."""
        compacted = TopicSettings(partitions=1, compacted=True)
        plain = {topic: TopicSettings(partitions=1) for topic in self.topics}
        await self.admin.create({**plain, self.schemas: compacted})

    @contextlib.asynccontextmanager
    async def node(
        self, code: ModuleType, *, starts: bool = True, flush_s: float = 1000.0, dies: bool = False
    ) -> AsyncIterator[NodeDispatcher]:
        """Run a node with some version of the code while the body runs; then it stops, or dies.

        With `starts` False it has started long ago: it knows no schema but its own.
        """
        system = System(self.name, actors=[code.Cart, code.Note])
        if starts:
            await ensure_schemas(self.log, self.name, system.behaviors, 0)
        plan = NodePlan(
            system=self.name,
            endpoint="http://node",
            behaviors=system.behaviors,
            topics=self.topics,
            log=self.log,
            store=self.store,
            settings=RuntimeSettings(flush_interval_s=flush_s),
            body_bytes_max=1024 * 1024,
            say=lambda _: None,
        )
        node = Node(plan)
        async with node.running() as dispatcher:
            await node.serving.wait()
            yield dispatcher
            if not dies:
                await node.drain(10.0)


async def ask(node: NodeDispatcher, actor: str, action: str, body: Any = None, **more: Any) -> Any:
    """Call an action of `Type/id`; return its reply."""
    type_name, _, actor_id = actor.partition("/")
    payload = b"" if body is None else json.dumps(body).encode()
    call = Call(type_name, actor_id, action, payload, timeout_s=5.0, **more)
    return json.loads((await node.invoke(call)).reply)
