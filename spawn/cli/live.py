"""A running system as its nodes tell of it, for the commands that show or watch it.

The node that was named is asked; where it does not answer, another one that it told of before, or
that stands on the roll in the log. An address that was told is used only once the node that is said
to be there has answered: no token goes to anybody else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from spawn.cli.node_client import NodeAddress, is_node, read_node
from spawn.cli.sources import opened
from spawn.config import Settings
from spawn.errors import NodeUnreachable

if TYPE_CHECKING:
    from spawn.cluster.members import Member
    from spawn.membership.roll import Roll

__all__ = ["LiveSystem", "read_roll"]

_ANSWER_S: Final = 5.0
_LIVE_S: Final = 1.0


class LiveSystem:
    """Asks a node, and another one when it does not answer."""

    def __init__(self, node: NodeAddress) -> None:
        self._given = node
        self.node = node
        """The one that answered last, or will be asked next."""
        self._others: dict[str, str] = {}
        """Addresses of nodes by id, as they were told."""

    async def nodes(self) -> Sequence[Mapping[str, Any]]:
        """Return the nodes, the answering one first. Raises: as `read`."""
        nodes: Sequence[Mapping[str, Any]] = (await self.read("/v1/nodes"))["nodes"]
        self._others = {each["id"]: each["http"] for each in nodes if each.get("http")}
        return nodes

    async def read(self, path: str) -> Any:
        """Return what a node tells at a path. Raises: SpawnError, NodeUnreachable: none answers."""
        try:
            return await read_node(self.node, path, _ANSWER_S)
        except NodeUnreachable:
            if not await self.use_any(self._others):
                self.node = self._given
                raise
        return await read_node(self.node, path, _ANSWER_S)

    async def use_any(self, nodes: Mapping[str, str]) -> bool:
        """Go on with one of these nodes (address by id) that answers; tell whether one does."""
        for node_id, url in nodes.items():
            # A token that went over TLS so far is not shown without.
            if url == self.node.url or (
                self._given.url.startswith("https:") and url[:6] != "https:"
            ):
                continue
            other = NodeAddress(url, f"{url} (told by other nodes)", self._given.ca)
            if await is_node(other, node_id, _LIVE_S):
                self.node = other
                return True
        return False


async def read_roll(settings: Settings) -> tuple[Mapping[bytes, Member], Mapping[bytes, Member]]:
    """Return who stands on the roll, and who once did, as far as the log tells.

    Raises: LogUnreachable, PartitionStopped, StartRefused.
    """
    async with opened(settings) as (log, _, _):
        from spawn.membership.roll import Roll

        return await roll_of(Roll(log, settings.system, keeps_former=True))


async def roll_of(roll: Roll) -> tuple[Mapping[bytes, Member], Mapping[bytes, Member]]:
    """Return the same from an open log; nobody where there is no roll. Raises: LogUnavailable."""
    from eventstore.errors import TopicMissing

    try:
        members = await roll.read()
    except TopicMissing:
        return {}, {}
    assert roll.former is not None, "it was made to keep them"
    return members, roll.former
