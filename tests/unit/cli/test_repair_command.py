"""`spawn repair`: wrong input, and how a plan is shown and confirmed."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from eventstore.log import LogRecord
from spawn.cli import repair as command
from spawn.cli.sources import Sources
from tests.unit.cli.running import spawn
from tests.unit.query.writing import Writer

SERVERS = ("--kafka-bootstrap-servers", "127.0.0.1:1", "--postgres-dsn", "postgresql://x@y/z")
CUT_SHORT = b"\xe5S\x01\x02"
AT = "spawn.shop.Counter/0"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["skip"], "takes TOPIC/PARTITION@OFFSET ..., got none"),
        (["skip", "Counter"], "a record is named TOPIC/PARTITION@OFFSET, got `Counter`"),
        (["skip", "Counter/0"], "got `Counter/0`"),
        (["skip", "Counter/0@-1"], "got `Counter/0@-1`"),
        (["skip", "Counter/0@1", "Counter/1@1"], "records of one partition are skipped together"),
        (["skip", "spawn.shop2.Counter/0@1"], "spawn.shop2.Counter is no topic of system shop"),
        (["accept-loss", "Counter/0@1"], "a partition is named TOPIC/PARTITION"),
        (["accept-loss", "Counter/0", "Counter/1"], "takes TOPIC/PARTITION, got 2"),
        (["unpark", "Counter"], "an actor is named TYPE/ID"),
        (["unpark", "Counter/a", "--to", "1", "--delete"], "exclude each other"),
        (["skip", "Counter/0@1", "--delete"], "--delete goes with `spawn repair unpark` only"),
        (["--to", "1"], "--to goes with `spawn repair unpark` only"),
        (["unpark", "Counter/a", "--states", "drop"], "goes with `spawn repair accept-loss` only"),
        (["--yes"], "--yes without an action"),
        (["drop-system", "shop2"], "the system is shop here, not shop2"),
        (["drop-type"], "takes TYPE, got none"),
        (["mend"], "mend"),
    ],
)
def test_a_wrong_command_line_is_told_before_anything_is_tried(
    capsys: pytest.CaptureFixture[str], arguments: Sequence[str], text: str
) -> None:
    """Exit code 2, with the code `usage`."""
    code, out, err = spawn(capsys, "repair", *arguments, "--system", "shop", *SERVERS)
    assert (code, out) == (2, "")
    assert text in err
    assert "[usage]" in err


def test_what_changes_states_needs_the_database(capsys: pytest.CaptureFixture[str]) -> None:
    """Without it the snapshots would not fit what was done."""
    code, _, err = spawn(capsys, "repair", "accept-loss", "Counter/0", *SERVERS[:2])
    assert code == 2
    assert "needs the database too" in err


def test_an_unreachable_log_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 5."""
    code, _, err = spawn(capsys, "repair", *SERVERS)
    assert (code, "[log-unreachable]" in err) == (5, True)


class Terminal(io.StringIO):
    """Somebody who types."""

    def isatty(self) -> bool:
        """Be a terminal."""
        return True


@pytest.fixture
async def broken(monkeypatch: pytest.MonkeyPatch) -> Writer:
    """A partition that stops at offset 2, in place of a log and a database."""
    [writer] = await Writer.open()
    writer.take()
    writer.commit("a")
    writer.log.put(writer.at, LogRecord(b"x", CUT_SHORT))
    await writer.log.create({})

    @asynccontextmanager
    async def opened(_: Any) -> AsyncIterator[Sources]:
        yield Sources(writer.log, writer.log, writer.store)

    monkeypatch.setattr(command, "opened", opened)
    return writer


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run it in a thread of its own, since it makes an event loop."""
    import concurrent.futures

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(
            spawn, capsys, "repair", *arguments, *SERVERS, "--system", "shop"
        ).result()


async def test_without_a_terminal_the_plan_is_shown_and_nothing_done(
    capsys: pytest.CaptureFixture[str], broken: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 6; as JSON too."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    code, out, err = run(capsys, "skip", f"{AT}@2")
    assert (code, "[not-confirmed]" in err) == (6, True)
    assert out.startswith(f"plan: skip {AT}@2\n  now    offset 2: ")
    code, out, _ = run(capsys, "skip", f"{AT}@2", "--json")
    told = json.loads(out)
    assert (code, told["applied"], bool(told["loses"])) == (6, False, True)
    assert len(broken.log.records(broken.at)) == 3


@pytest.mark.parametrize(
    ("answer", "done"), [("y", True), ("YES", True), ("n", False), ("", False)]
)
async def test_on_a_terminal_it_asks(
    capsys: pytest.CaptureFixture[str],
    broken: Writer,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    done: bool,
) -> None:
    """Anything but yes is no."""
    monkeypatch.setattr(sys, "stdin", Terminal(f"{answer}\n"))
    code, _, err = run(capsys, "skip", f"{AT}@2")
    assert "Do it? [y/N] " in err
    assert code == (0 if done else 6)
    assert len(broken.log.records(broken.at)) == (4 if done else 3)


@pytest.mark.parametrize(("answer", "code"), [("Counter", 0), ("y", 6), ("counter", 6)])
async def test_a_drop_is_confirmed_by_its_name(
    capsys: pytest.CaptureFixture[str],
    broken: Writer,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    code: int,
) -> None:
    """Not by a mere yes."""
    monkeypatch.setattr(sys, "stdin", Terminal(f"{answer}\n"))
    ended, _, err = run(capsys, "drop-type", "Counter")
    assert "Type Counter to do it: " in err
    assert ended == code
    assert bool(await broken.log.topics("spawn.")) is (code == 6)


async def test_the_list_tells_by_its_exit_code_whether_there_is_something(
    capsys: pytest.CaptureFixture[str], broken: Writer
) -> None:
    """People read words, programs lines of JSON."""
    code, out, err = run(capsys)
    assert (code, out.splitlines()[0]) == (1, f"stopped  {AT}@2")
    assert "1 findings: 1 partitions of 1 topics read" in err
    code, out, _ = run(capsys, "--json")
    assert set(json.loads(out)) == {"kind", "position", "actor", "what", "ways"}
    code, _, err = run(capsys, "skip", f"{AT}@2", "--yes")
    assert (code, f"{AT} can then be read to its end" in err) == (0, True)
    code, out, err = run(capsys)
    assert (code, out) == (0, "")
    assert "nothing to repair" in err


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["skip", f"{AT}@9"], 4, "[unknown-position]"),
        (["skip", "Counter/7@0"], 4, "[unknown-position]"),
        (["skip", f"{AT}@1"], 1, "[repair-refused]"),
        (["accept-loss", AT], 1, "[repair-refused]"),
        (["unpark", "Cuonter/a"], 4, "[unknown-type]"),
        (["unpark", "Counter/a"], 1, "[repair-refused]"),
        (["drop-type", "Nothing"], 4, "[unknown-type]"),
    ],
)
async def test_what_does_not_fit_is_told_by_code(
    capsys: pytest.CaptureFixture[str],
    broken: Writer,
    arguments: Sequence[str],
    code: int,
    text: str,
) -> None:
    """Even with --yes."""
    ended, _, err = run(capsys, *arguments, "--yes")
    assert (ended, text in err) == (code, True), err
