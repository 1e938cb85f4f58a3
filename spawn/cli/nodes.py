"""`spawn nodes`: through any node; where none answers, from the roll in the log."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from spawn.cli import console, exit_codes, render
from spawn.cli.common_flags import Authority, ConfigFile
from spawn.cli.live import LiveSystem, read_roll
from spawn.cli.node_client import find_node
from spawn.cli.settings_flags import AddressFlags
from spawn.cli.sources import reading_settings
from spawn.cli.watching import Look, node_changes
from spawn.cli.watching import watch as go_on
from spawn.errors import InvalidSettings, NodeUnreachable

__all__ = ["nodes"]

_TITLES = ("", "node", "standing", "for", "partitions", "http", "mesh", "release")
_RIGHT = (3, 4)


def nodes(
    *,
    url: Annotated[str | None, Parameter(help="Any node; also SPAWN_URL.", metavar="URL")] = None,
    ca: Authority = None,
    watch: Annotated[
        bool, Parameter(help="Go on showing them, until Ctrl-C.", negative="")
    ] = False,
    json: Annotated[
        bool,
        Parameter(
            help="One line of JSON for each node; with --watch for each change.", negative=""
        ),
    ] = False,
    config: ConfigFile = None,
    flags: Annotated[AddressFlags, Parameter(name="*")] = AddressFlags(),  # noqa: B008 - frozen
) -> int:
    """List the nodes of the system, how each one stands, and how many partitions it owns."""
    system = LiveSystem(find_node(url, ca))
    if watch:
        return _watch(system, as_json=json)
    try:
        found = asyncio.run(system.nodes())
    except NodeUnreachable as error:
        found = _of_roll(system, error, flags, config)
    if json:
        for node in found:
            console.data(render.json_line(node))
    else:
        console.data("\n".join(render.table([_TITLES, *map(_row, found)], right=_RIGHT)))
    return exit_codes.DONE


def _of_roll(
    system: LiveSystem, error: NodeUnreachable, flags: AddressFlags, config: Path | None
) -> Sequence[Mapping[str, Any]]:
    """Ask the nodes on the roll, else return the roll. Raises: `error` - no log is named."""
    try:
        settings = reading_settings(flags, config)
    except InvalidSettings:
        raise error from None
    members, _ = asyncio.run(read_roll(settings))
    told = {node_id.hex(): member.http for node_id, member in members.items() if member.http}
    asked = system.node.url

    async def ask() -> Sequence[Mapping[str, Any]] | None:
        return await system.nodes() if await system.use_any(told) else None

    found = asyncio.run(ask())
    if found is not None:
        console.note(f"no node answers at {asked}; {system.node.url}, from the roll, does")
        return found
    console.warning(
        f"no node answers: this is the roll in the log of system {settings.system}, which says who "
        "was started and has not left, not who lives"
    )
    return [
        {
            "id": node_id.hex(),
            "mesh": member.mesh,
            "http": member.http,
            "release": member.release,
            "standing": None,
            "for_s": None,
            "partitions": None,
            "is_self": False,
        }
        for node_id, member in sorted(members.items(), key=lambda item: item[1].mesh)
    ]


def _row(node: Mapping[str, Any]) -> Sequence[str]:
    """Return a node's line; a star is on the one that answered."""
    return [
        "*" if node["is_self"] else "",
        node["id"][:8],
        node["standing"] or "-",
        "-" if node["for_s"] is None else render.age(node["for_s"]),
        "-" if node["partitions"] is None else render.number(node["partitions"]),
        node["http"] or "-",
        node["mesh"],
        node["release"] or "-",
    ]


def _watch(system: LiveSystem, *, as_json: bool) -> int:
    async def look() -> Look:
        found = await system.nodes()
        return Look({node["id"]: node for node in found}, _TITLES, list(map(_row, found)), _RIGHT)

    return go_on(look, node_changes, as_json=as_json)
