"""`spawn invoke` and `spawn state` against a served node: what they send, print and end with."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

import pytest

from spawn.cli.main import run_command
from spawn.errors import Fenced, OutcomeUnknown, Rejected, SpawnError, StoreUnreachable
from tests.integration.api.wire import Served

Outcome = tuple[int, str, str]
Command = Callable[..., Awaitable[Outcome]]


@pytest.fixture
def command(served: Served, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command against the served node; gives exit code, stdout and stderr."""

    async def run(*arguments: str) -> Outcome:
        url = f"http://127.0.0.1:{served.server.port}"
        code = await asyncio.to_thread(run_command, [*arguments, "--url", url])
        out, err = capsys.readouterr()
        return code, out, err

    return run


async def test_invoke_prints_the_reply(served: Served, command: Command) -> None:
    """And nothing else."""
    assert await command("invoke", "Counter/a", "add", "5") == (0, "5\n", "")
    [call] = served.ingress.calls
    assert (call.payload, call.key, call.timeout_s) == (b"5", None, 60.0)


async def test_invoke_sends_key_and_timeout(served: Served, command: Command) -> None:
    """As headers, the time in milliseconds."""
    await command("invoke", "Counter/a", "add", "5", "--key", "order-7", "--timeout", "1500ms")
    [call] = served.ingress.calls
    assert (call.key, call.timeout_s) == ("order-7", 1.5)


async def test_invoke_takes_negative_numbers_and_no_argument(
    served: Served, command: Command
) -> None:
    """A number is no option."""
    assert await command("invoke", "Counter/a", "add", "-5") == (0, "-5\n", "")
    assert await command("invoke", "Counter/a", "total") == (0, "-5\n", "")
    assert [call.payload for call in served.ingress.calls] == [b"-5", b""]


async def test_invoke_reads_its_argument_from_stdin(
    served: Served, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `-`, for what is too long for a command line."""
    text = json.dumps({"text": "x" * 200_000})
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
    code, out, _ = await command("invoke", "Echo/e", "echo", "-")
    assert (code, json.loads(out)) == (0, json.loads(text))


async def test_invoke_as_json_adds_revision_and_position(command: Command) -> None:
    """One line, its shape fixed."""
    code, out, _ = await command("invoke", "Counter/a", "add", "5", "--json")
    assert code == 0
    assert out == '{"reply":5,"revision":1,"position":"spawn.shop.Counter/3@101"}\n'
    _, out, _ = await command("invoke", "Counter/new", "total", "--json")
    assert out == '{"reply":0,"revision":0,"position":null}\n'


@pytest.mark.parametrize("actor_id", ["a/b/c", "%2F", "..", ".", "grüße ✈", "a?b#c&d=e", "a b"])
async def test_the_id_arrives_as_it_was_typed(
    served: Served, command: Command, actor_id: str
) -> None:
    """Split at the first slash; whatever follows is the id."""
    assert (await command("invoke", f"Counter/{actor_id}", "add", "1"))[0] == 0
    assert served.ingress.calls[0].id == actor_id
    code, out, _ = await command("state", f"Counter/{actor_id}", "--json")
    assert (code, json.loads(out)["id"], json.loads(out)["revision"]) == (0, actor_id, 1)


async def test_state_shows_revision_position_and_members(command: Command) -> None:
    """For people."""
    await command("invoke", "Counter/a", "add", "5")
    assert await command("state", "Counter/a") == (
        0,
        "Counter/a  revision 1  spawn.shop.Counter/3@101\n  total  5\n",
        "",
    )


async def test_state_as_json_is_one_line(command: Command) -> None:
    """For programs."""
    assert await command("state", "Counter/a", "--json") == (
        0,
        '{"type":"Counter","id":"a","revision":0,"state":{"total":0},"position":null}\n',
        "",
    )


async def test_what_the_node_refuses_is_told_as_it_said_it(command: Command) -> None:
    """The text of experience.md, and exit code 4."""
    code, out, err = await command("invoke", "Counter/a", "ad")
    assert (code, out) == (4, "")
    assert err == (
        "error: Counter has no action `ad` [unknown-action]\n"
        "  at:   POST /v1/actors/Counter/a/ad\n"
        "  hint: did you mean `add`? Actions: add(n: int) -> int, total() -> int\n"
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Rejected("negative", "cannot add -1"), 1),
        (Rejected("fenced", "a user's own word"), 1),
        (OutcomeUnknown("nobody knows"), 1),
        (Fenced("another node owns it"), 3),
        (StoreUnreachable("no database"), 5),
    ],
)
async def test_exit_codes_tell_errors_apart(
    served: Served, command: Command, error: SpawnError, code: int
) -> None:
    """User code's own codes are never taken for ours."""
    served.ingress.error = error
    ended, out, err = await command("invoke", "Counter/a", "add", "5")
    assert (ended, out) == (code, "")
    assert err.startswith(f"error: {error.message} [{error.code}]\n")


async def test_an_answer_that_does_not_come_is_an_unknown_outcome(
    served: Served, command: Command
) -> None:
    """A call was sent: it may have been executed. A read is just repeated."""
    served.ingress.gate = asyncio.Event()

    async def stop_when_called() -> None:
        await served.ingress.arrived.wait()
        await served.server.stop(grace_s=0)

    async with asyncio.TaskGroup() as group:
        group.create_task(stop_when_called())
        code, _, err = await command("invoke", "Counter/a", "add", "5")
    assert code == 1
    assert "[outcome-unknown]" in err
    assert "--key" in err


async def test_what_is_no_node_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Something else on that port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/html\r\n\r\nhi")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        arguments = ["state", "Counter/a", "--url", f"http://127.0.0.1:{port}"]
        code = await asyncio.to_thread(run_command, arguments)
    assert code == 5
    assert "is no node of Spawn (status 200, text/html)" in capsys.readouterr().err
