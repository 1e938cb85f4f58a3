"""`spawn invoke TYPE/ID ACTION [JSON]`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
from cyclopts import Parameter

from spawn.cli import console, render
from spawn.cli.common_flags import Authority
from spawn.cli.node_client import ask_node, find_node, parse_timeout_s
from spawn.cli.subjects import UsageError, check_text, parse_subject, read_payload
from spawn.client.paths import actor_path, checked_key
from spawn.errors import InvalidHeader

__all__ = ["invoke"]


def invoke(
    actor: Annotated[str, Parameter(name="TYPE/ID", help="The actor: its type and its id.")],
    action: Annotated[str, Parameter(help="Name of the action.")],
    argument: Annotated[
        str | None,
        Parameter(
            name="JSON",
            help="Its input as JSON: the parameter's value if it has one, an object by name if "
            "it has several; `-` reads it from stdin.",
            allow_leading_hyphen=True,
        ),
    ] = None,
    /,
    *,
    key: Annotated[
        str | None,
        Parameter(help="Idempotency key: the same call with it takes effect once.", metavar="KEY"),
    ] = None,
    timeout: Annotated[
        str, Parameter(help="How long to wait: 250ms, 5s, 2m.", metavar="DURATION")
    ] = "60s",
    url: Annotated[str | None, Parameter(help="The node; also SPAWN_URL.", metavar="URL")] = None,
    ca: Authority = None,
    json: Annotated[
        bool, Parameter(help="One line of JSON with reply, revision and position.", negative="")
    ] = False,
) -> None:
    """Call an action of an actor, through a node, and print its reply."""
    subject = parse_subject(actor)
    timeout_s = parse_timeout_s(timeout)
    payload = read_payload(argument)
    check_text(action, "ACTION")
    node = find_node(url, ca)
    headers = {} if key is None else {"Idempotency-Key": _checked(key)}
    answer = asyncio.run(
        ask_node(
            node, "POST", actor_path(subject.type, subject.id, action), timeout_s, payload, headers
        )
    )
    if json:
        value = {
            "reply": msgspec.Raw(answer.body),
            "revision": answer.revision,
            "position": answer.position or None,
        }
        console.data(render.json_line(value))
    else:
        console.data(render.reply(answer.body))


def _checked(key: str) -> str:
    """Return an idempotency key that can be sent. Raises: UsageError."""
    if not key:
        raise UsageError("--key is empty", hint="without --key each call is another one")
    try:
        return checked_key(key)
    except InvalidHeader as error:
        raise UsageError(f"--key: {error}", hint=error.hint) from error
