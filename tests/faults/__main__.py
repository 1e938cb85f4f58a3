"""`python -m tests.faults`: real nodes, Apache Kafka and PostgreSQL under load, and real faults.

    make faults                                 # every case, at most 15 minutes
    make faults RUNS=20 CASE=kill-one           # one case, its fault 20 times
    make faults-short                           # a minute and a half, for CI

Exit code 0: nothing contradicts the guarantees, and every figure is within its limit.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

from tests.faults.cases.brokers import BROKER_FREEZE, BROKER_KILL, BROKER_ROLL
from tests.faults.cases.case import Case
from tests.faults.cases.clocks import CLOCKS
from tests.faults.cases.cuts import CUT_BROKER, CUT_NODES, CUT_POSTGRES
from tests.faults.cases.database import POSTGRES
from tests.faults.cases.freeze import FREEZE_LONG, FREEZE_ONE
from tests.faults.cases.kill import KILL_ALL, KILL_ONE
from tests.faults.cases.moves import CHURN, FIRST_START, STOP_AND_JOIN
from tests.faults.cases.slow import BLOCK, STARVE
from tests.faults.clock import library
from tests.faults.cluster import NotInTime, last_lines
from tests.faults.report import Row, judge, lines_of, table
from tests.faults.servers import Servers
from tests.faults.stage import Options, Stage
from tests.services.apache_kafka import KafkaMissing

_CASES: Final = {
    case.name: case
    for case in (
        KILL_ONE,
        KILL_ALL,
        FREEZE_ONE,
        FREEZE_LONG,
        STOP_AND_JOIN,
        FIRST_START,
        CHURN,
        POSTGRES,
        CLOCKS,
        STARVE,
        BLOCK,
        CUT_BROKER,
        CUT_NODES,
        CUT_POSTGRES,
        BROKER_KILL,
        BROKER_FREEZE,
        BROKER_ROLL,
    )
}
_CASE_S: Final = 180.0
_RUN_S: Final = 20.0
"""A case that takes longer hangs; a repeated fault has so much more for each time."""


@contextlib.asynccontextmanager
async def _servers(case: Case, nodes: int) -> AsyncIterator[Servers]:
    gated = [f"n{number}" for number in range(1, nodes + 1)] if case.gated else []
    async with Servers(brokers=case.brokers, gated=gated) as servers:
        yield servers


async def _play(case: Case, servers: Servers, folder: Path, options: Options) -> Row:
    """Play one case on a system of its own; whatever goes wrong stands in its row."""
    if lack := case.missing():
        return Row(case.name, skipped=lack)
    folder.mkdir()
    system = f"{case.name}-{os.getpid()}-{time.time_ns() % 10**9}"
    stage = Stage(servers, folder, options, system)
    if case.preload:
        stage.cluster.preload = library(folder)
    problems: list[str] = []
    try:
        await stage.open()
        try:
            async with asyncio.timeout(_CASE_S + _RUN_S * options.runs):
                await case.play(stage)
        except (NotInTime, AssertionError, RuntimeError, TimeoutError) as error:
            problems.append(f"{type(error).__name__}: {error}")
            await stage.cluster.keep_metrics("problem")
        return judge(case.name, await stage.end(problems), options.timeout_s)
    except (NotInTime, RuntimeError, TimeoutError, OSError) as error:
        logs = [f"{node.name}: {last_lines(node.log)}" for node in stage.cluster.nodes.values()]
        said = f"{type(error).__name__}: {error}".strip(": ")
        return Row(case.name, problems=[*problems, f"it came to no end: {said}", *logs])
    finally:
        _write_faults(folder, stage)
        await stage.close()
        await servers.restore()


def _write_faults(folder: Path, stage: Stage) -> None:
    """Keep when which fault was, beside history and logs."""
    lines = "".join(f"{at:.4f} {text}\n" for at, text in stage.faults)
    (folder / "faults.txt").write_text(lines, encoding="utf-8")


async def _main(cases: Sequence[Case], options: Options, slack: float, folder: Path) -> list[Row]:
    """Play cases, those on the same kind of servers together; stop in order on a signal."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    rows: list[Row] = []
    kinds = dict.fromkeys((case.brokers, case.gated) for case in cases)
    for kind in kinds:
        of_kind = [case for case in cases if (case.brokers, case.gated) == kind]
        async with _servers(of_kind[0], options.nodes) as servers:
            for case in of_kind:
                began = time.monotonic()
                print(f"... {case.name}: {case.about}", flush=True)
                row = await _play(case, servers, folder / case.name, options)
                rows.append(row)
                took_s = time.monotonic() - began
                verdict = "not played" if row.skipped else table([row], slack).splitlines()[-1]
                print(f"    {verdict}  ({took_s:.0f} s)")
                print("\n".join(f"  {line}" for line in lines_of(row, slack)), flush=True)
    return rows


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(_CASES))
    parser.add_argument("--runs", type=int, default=0, help="repetitions of each case's fault")
    parser.add_argument("--nodes", type=int, default=3, help="3 to 5; 1 to try a node alone")
    parser.add_argument("--rate", type=float, default=500.0, help="operations a second")
    parser.add_argument("--partitions", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--short", action="store_true", help="the few cases that CI plays")
    parser.add_argument(
        "--slack", type=float, default=1.0, help="a busy machine: limits count times this"
    )
    parser.add_argument(
        "--plant", default="", help="a bug (tests/simulation/plants.py) that must be found"
    )
    parser.add_argument("--keep", type=Path, help="leave histories and logs in this folder")
    options = parser.parse_args()
    if unknown := [name for name in options.cases if name not in _CASES]:
        parser.error(f"no case {unknown[0]!r}; there are {', '.join(_CASES)}")
    return options


def _run(given: argparse.Namespace) -> int:
    cases = [_CASES[name] for name in given.cases] or [
        case for case in _CASES.values() if case.is_short or not given.short
    ]
    options = Options(
        nodes=given.nodes,
        rate=given.rate,
        partitions=given.partitions,
        runs=given.runs,
        seed=given.seed,
        is_short=given.short,
        plant=given.plant,
    )
    folder = given.keep or Path(tempfile.mkdtemp(prefix="spawn-faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    good = False
    try:
        rows = asyncio.run(_main(cases, options, given.slack, folder))
        good = all(row.skipped or row.is_good(given.slack) for row in rows)
    finally:
        if given.keep is None and good:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"histories and logs: {folder}")
    print(f"\n{table(rows, given.slack)}\n")
    for row in rows:
        if not row.skipped:
            print(row.case)
            print("\n".join(line for line in lines_of(row, given.slack)))
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(_run(_arguments()))
    except KafkaMissing as lack:
        sys.exit(f"faults: {lack}")
    except asyncio.CancelledError:
        sys.exit("faults: broken off")
