"""`spawn state TYPE/ID`."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from spawn.cli import console, render
from spawn.cli.node_client import ask_node, find_node, parse_timeout_s
from spawn.cli.subjects import parse_subject
from spawn.client.paths import actor_path

__all__ = ["state"]


def state(
    actor: Annotated[str, Parameter(name="TYPE/ID", help="The actor: its type and its id.")],
    /,
    *,
    timeout: Annotated[
        str, Parameter(help="How long to wait: 250ms, 5s, 2m.", metavar="DURATION")
    ] = "60s",
    url: Annotated[str | None, Parameter(help="The node; also SPAWN_URL.", metavar="URL")] = None,
    json: Annotated[bool, Parameter(help="One line of JSON.", negative="")] = False,
) -> None:
    """Show an actor's state, through a node."""
    subject = parse_subject(actor)
    node = find_node(url)
    timeout_s = parse_timeout_s(timeout)
    answer = asyncio.run(ask_node(node, "GET", actor_path(subject.type, subject.id), timeout_s))
    value = msgspec.json.decode(answer.body, type=dict[str, Any])
    if json:
        console.data(render.json_line({**value, "position": answer.position or None}))
    else:
        console.data(render.state(str(subject), answer.revision, answer.position, value["state"]))
