"""docs/reference/http.md: every command on it answers what it shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.integration.api.fake_view import FakeView
from tests.integration.api.wire import Reply, Wire, serving

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "http.md"
UNSHOWN = {"server", "date", "content-length", "retry-after"}


async def curl(wire: Wire, command: str) -> str:
    """Do what a curl command line does; return what it would print, as the page shows it."""
    words = shlex.split(command)[1:]
    method, body, headers, with_head, target = "", None, {}, False, ""
    while words:
        word = words.pop(0)
        if word == "-i":
            with_head = True
        elif word == "-d":
            body = words.pop(0).encode()
        elif word == "-X":
            method = words.pop(0)
        elif word == "-H":
            name, value = words.pop(0).split(": ")
            headers[name] = value
        else:
            target = word.removeprefix("localhost:9001")
    reply = await wire.ask(method or ("GET" if body is None else "POST"), target, body, headers)
    return (head(reply) if with_head else "") + reply.body.decode()


def head(reply: Reply) -> str:
    phrase = {200: "OK", 400: "Bad Request", 405: "Method Not Allowed"}[reply.status]
    lines = [
        f"{name.title()}: {value}" for name, value in reply.headers.items() if name not in UNSHOWN
    ]
    return "\n".join([f"HTTP/1.1 {reply.status} {phrase}", *lines, "", ""])


async def test_every_block_answers_what_it_shows() -> None:
    """From top to bottom, on one node."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    parts = [part for block in blocks for part in re.split(r"(?m)^\$ ", block)[1:]]
    commands = [part.split("\n", 1) for part in parts]
    assert len(commands) >= 9
    async with serving(view=FakeView()) as served:
        for command, shown in commands:
            printed = await curl(served.wire, command)
            assert printed.rstrip("\n") == shown.rstrip("\n"), command
