"""What a node tells of its system: who is there, who owns what, and where an actor's owner is.

`/v1/owners` is for programs that call owners themselves (`spawn.Client`): a number a partition, and
an ETag, so that asking again costs next to nothing while nothing moves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final

import msgspec
from aiohttp import hdrs

from spawn.api.asked import Asked
from spawn.api.responses import LINE_END, Response, json_response
from spawn.core.ids import Position, partition_of
from spawn.core.ingress import Ingress
from spawn.core.system_view import NodeSeen, SystemView
from spawn.errors import UnknownPath

__all__ = ["NODE", "ROUTES", "SystemPages"]

NODE: Final = "Spawn-Node"
"""The id of the node that answers; also without a token, on `/health/live`."""
ROUTES: Final = frozenset(("nodes", "partitions", "owners"))
_ELSEWHERE: Final = "elsewhere"
_NOBODY: Final = -1


class SystemPages:
    """Answers the routes about the system."""

    def __init__(self, ingress: Ingress, view: SystemView | None) -> None:
        """Without a view this node is alone, and tells nothing of others."""
        self._ingress, self._view = ingress, view

    def answer(self, asked: Asked, route: str) -> Response:
        """Answer one of `ROUTES`. Raises: UnknownPath - this node is alone."""
        if self._view is None:
            raise UnknownPath("this node knows of no others", hint="`spawn run` and `dev` do")
        if route == "nodes":
            return json_response(200, self._nodes(self._view))
        if route == "partitions":
            return json_response(200, self._partitions(self._view))
        return self._owners(asked, self._view)

    def live_headers(self) -> tuple[tuple[str, str], ...]:
        """Return what tells a program that this is the node that it has heard of."""
        if self._view is None:
            return ()
        return ((NODE, self._id),)

    def owner_url(self, actor_type: str, actor_id: str, position: Position | None = None) -> str:
        """Return where an actor's owner is; empty: here, or nobody knows. Never raises."""
        view = self._view
        if view is None:
            return ""
        if position is not None:
            return view.owner_url(position.topic, position.partition)
        place = self._places.get(actor_type) or self._ingress.elsewhere_types().get(actor_type)
        if place is None:
            return ""
        key = actor_id.encode(errors="replace")
        return view.owner_url(place[0], partition_of(key, place[1]))

    @cached_property
    def _system(self) -> str:
        return self._ingress.statistics().system

    @cached_property
    def _id(self) -> str:
        assert self._view is not None
        return self._view.nodes()[0].id

    @cached_property
    def _places(self) -> Mapping[str, tuple[str, int]]:
        return {each.type: (each.topic, each.partitions) for each in self._ingress.describe()}

    def _nodes(self, view: SystemView) -> Mapping[str, Any]:
        shown = [{**msgspec.structs.asdict(node), "for_s": round(node.for_s, 3)}
                 for node in view.nodes()]  # fmt: skip
        return {"system": self._system, "nodes": shown}

    def _partitions(self, view: SystemView) -> Mapping[str, Any]:
        statistics = self._ingress.statistics()
        by_mesh = {node.mesh: node for node in view.nodes()}
        own = {(each.topic, each.partition): each for each in statistics.partitions}
        lines: list[Mapping[str, Any]] = []
        for topic, owners in view.owners().items():
            for partition, owner in enumerate(owners):
                node = by_mesh.get(owner.mesh) if owner.mesh else None
                line: dict[str, Any] = {
                    "topic": topic,
                    "partition": partition,
                    "owner": None if node is None else node.id,
                    "http": (None if node is None else node.http) or None,
                    "mesh": owner.mesh or None,
                    "epoch": owner.epoch,
                }
                here = own.get((topic, partition))
                if here is not None and here.phase != _ELSEWHERE:
                    line |= {
                        "phase": here.phase,
                        "position": here.position,
                        "checkpoint": here.checkpoint,
                    }
                lines.append(line)
        return {
            "system": statistics.system,
            "node": self._id,
            "partitions": lines,
        }

    def _owners(self, asked: Asked, view: SystemView) -> Response:
        nodes: Sequence[NodeSeen] = view.nodes()
        # A node that was told of, and is gone from here already, is nobody that could be called.
        numbers = {node.mesh: number for number, node in enumerate(nodes)}
        body = msgspec.json.encode(
            {
                "system": self._system,
                "node": nodes[0].id,
                "nodes": [
                    {"id": node.id, "http": node.http, "standing": node.standing} for node in nodes
                ],
                "owners": {
                    topic: [numbers.get(owner.mesh, _NOBODY) for owner in owners]
                    for topic, owners in view.owners().items()
                },
            }
        )
        tag = f'"{hashlib.blake2b(body, digest_size=8).hexdigest()}"'
        if tag in _tags(asked.headers.getall(hdrs.IF_NONE_MATCH, ())):
            return Response(304, b"", "", ((hdrs.ETAG, tag),))
        return Response(200, body + LINE_END, headers=((hdrs.ETAG, tag),))


def _tags(values: Sequence[str]) -> set[str]:
    return {tag.strip().removeprefix("W/") for value in values for tag in value.split(",")}
