"""The watchdog of the event loop, over real processes that block."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from eventstore.fencing import Fence
from eventstore.log import LogRecord, TopicPartition
from eventstore.records import Claim, decode_prefix, encode_claim
from spawn.cli import exit_codes
from spawn.runtime import watchdog
from spawn.runtime.beat import BLOCK_S, LoopBeat
from spawn.runtime.debugger import Debugger
from spawn.runtime.watchdog import Watchdog
from tests.integration.runtime.running import AT, Cluster, add, submit, worker_of

PROGRAM = Path(__file__).with_name("watched_program.py")
ROOT = Path(__file__).parents[3]


class Ended:
    """A program that has ended, and what it said."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The lines of its log."""
        return [json.loads(line) for line in self.err.splitlines() if line.startswith("{")]

    def of_loop(self) -> list[dict[str, Any]]:
        """Those about the event loop."""
        return [line for line in self.lines if line["logger"] == "spawn.loop"][1:]


async def start(kind: str, seconds: float, stuck_s: float = 0.0) -> asyncio.subprocess.Process:
    """Start the program."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *(str(PROGRAM), kind, str(seconds), str(stuck_s)),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def end(process: asyncio.subprocess.Process, typed: bytes | None = None) -> Ended:
    """Wait for its end."""
    out, err = await process.communicate(typed)
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


def line_of(kind: str) -> int:
    """Return the number of the program's line that blocks."""
    lines = PROGRAM.read_text(encoding="utf-8").splitlines()
    return next(n for n, line in enumerate(lines, 1) if f"# the line of a {kind}" in line)


@pytest.mark.parametrize("kind", ["nap", "doze", "stare"])
async def test_a_block_is_named_with_its_line_while_it_lasts(kind: str) -> None:
    """File, line, function, actor and action, in one line of the log."""
    ended = await end(await start(kind, 3.0))
    assert ended.code == 0, ended.err
    told = [line for line in ended.of_loop() if line["level"] == "warning"]
    assert len(told) == 1, ended.err
    place = f"tests/integration/runtime/watched_program.py:{line_of(kind)} Sleeper.{kind}"
    assert place in told[0]["message"]
    assert (told[0]["actor"], told[0]["action"]) == ("Sleeper/s", kind)
    blocked_ms = int(told[0]["message"].split(" for ")[1].split(" ms")[0])
    assert 250 <= blocked_ms < 1500, "it is told while it lasts, not behind it"
    assert ended.out.startswith("blocks 1 longest "), ended.out
    assert float(ended.out.split()[-1]) > 2.5


async def test_a_loop_that_hangs_ends_the_process_with_its_stacks() -> None:
    """A supervisor starts another one; the last words name the line and the setting."""
    started = time.monotonic()
    ended = await end(await start("nap", 60.0, stuck_s=1.5))
    assert time.monotonic() - started < 20
    assert ended.code == watchdog.EXIT_STUCK == exit_codes.STUCK
    last = ended.of_loop()[-1]
    assert last["level"] == "critical"
    assert f"watched_program.py:{line_of('nap')} Sleeper.nap" in last["message"]
    assert "node.stuck" in last["message"]
    assert "[loop-stuck]" in last["message"]
    assert f"line {line_of('nap')} in nap" in ended.err, "the stacks stand behind it"


async def test_a_process_that_was_frozen_whole_neither_ends_nor_is_told_to_block() -> None:
    """SIGSTOP and SIGCONT: what stood still was not the code."""
    process = await start("idle", 3.0, stuck_s=1.0)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"idle\n"
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(2.5)
    process.send_signal(signal.SIGCONT)
    ended = await end(process)
    assert ended.code == 0, ended.err
    assert "blocked" not in ended.err


async def test_a_breakpoint_is_no_block() -> None:
    """Somebody looks at the code: the watchdog is silent, however long it takes."""
    process = await start("stop", 0.0, stuck_s=1.0)
    await asyncio.sleep(4)
    assert process.returncode is None
    ended = await end(process, b"c\n")
    assert ended.code == 0, ended.err
    assert ended.of_loop() == [], ended.err


async def test_a_read_after_a_block_never_rests_on_the_lease_before_it() -> None:
    """The clock is asked after the block: the foreign claim is met before anything is told."""
    cluster = Cluster()
    async with cluster.node() as node:
        await add(node, 1)
        fences = worker_of(node).counts
        claim_behind_its_back(cluster, AT)
        before = submit(node, "all")
        assert before.done(), "within the lease, which the new owner waits out"
        assert before.result() == [1]
        time.sleep(BLOCK_S)
        after = submit(node, "all")
        assert not after.done()
        assert await after == [1], "taken again: the other one wrote nothing"
        assert fences.fences == 1


async def test_a_long_block_makes_the_node_ask_the_log_what_it_still_owns() -> None:
    """Nobody calls; the node notices by itself that another one took over meanwhile."""
    cluster = Cluster(partitions=2)
    other = AT._replace(partition=1)  # the deciding one is looked at in any case
    async with cluster.node() as node:
        counts = node._by_place[other].counts
        claim_behind_its_back(cluster, other)
        await asyncio.sleep(1.5)
        assert not counts.fences
        time.sleep(1.2)
        async with asyncio.timeout(1):
            while not counts.fences:
                await asyncio.sleep(0.01)


def claim_behind_its_back(cluster: Cluster, at: TopicPartition) -> None:
    """Let another process claim the partition."""
    fence = Fence()
    for stored in cluster.log.records(at):
        prefix = decode_prefix(stored.value)
        assert prefix is not None
        fence.step(prefix)
    claim = Claim(b"c" * 16, fence.epoch + 1, fence.claim, fence.log_id)
    cluster.log.put(at, LogRecord(None, encode_claim(claim, b"\0" * 16)))


def test_a_loop_that_nobody_touched_yet_is_not_judged() -> None:
    """A start takes its time."""
    ended: list[str] = []
    with Watchdog(LoopBeat(), Debugger(), stuck_s=0.2, end=ended.append).watching():
        time.sleep(1)
    assert ended == []
