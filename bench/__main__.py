"""`python -m bench`: start the servers, run scenarios one after the other, show what was seen."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import importlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

import asyncpg

from bench.figures import Figure, Target, table
from bench.machine import machine_facts, python_loop_us
from bench.peers import environment as peers
from bench.world import World
from spawn.dev.stack import EmbeddedStack
from tests.services.apache_kafka import ApacheKafka, KafkaMissing, kafka_version

_SCENARIOS: Final = {
    "commits": "bench.scenarios.commits",
    "reads": "bench.scenarios.reads",
    "recovery": "bench.scenarios.recovery",
    "flush": "bench.scenarios.flush",
    "memory": "bench.scenarios.memory",
    "pauses": "bench.scenarios.pauses",
    "http": "bench.scenarios.http_node",
    "forward": "bench.scenarios.forward",
    "peers": "bench.peers.side_by_side",
}
_ASKED_FOR: Final = {"peers"}
"""Scenarios that run only where they are named: they need programs that are not Spawn's own."""
_WARM_UP_S: Final = 10.0


async def scenario(world: World, module: str) -> list[dict[str, Any]]:
    """Run one scenario in this process (a child of `main`'s)."""
    figures: Sequence[Figure] = await importlib.import_module(module).run(world)
    return [figure.as_json() for figure in figures]


@contextlib.asynccontextmanager
async def servers(warm_up_s: float, options: dict[str, Any]) -> AsyncIterator[World]:
    """Start Kafka and PostgreSQL and warm the broker up."""
    with tempfile.TemporaryDirectory() as folder, ApacheKafka(heap_mib=1024) as kafka:
        await asyncio.to_thread(kafka.start)
        async with EmbeddedStack(Path(folder) / "data", kafka=False, nats=False) as stack:
            dsn = stack.endpoints.postgres_dsn
            assert dsn is not None
            world = World(
                kafka=kafka.bootstrap,
                dsn=dsn,
                root_pid=os.getpid(),
                tag=format(time.time_ns() // 10**6, "x"),
                **options,
            )
            await world.in_child("bench.scenarios.commits:warm_up", warm_up_s)
            yield world


async def _run(names: Sequence[str], world: World, failed: list[str]) -> list[Figure]:
    """Return the figures of some scenarios; one that fails is added to `failed`."""
    figures: list[Figure] = []
    for name in names:
        print(f"... {name}", flush=True)
        try:
            found = await world.in_child("bench.__main__:scenario", _SCENARIOS[name])
        except RuntimeError as error:
            failed.append(f"{name}: {error}")
            continue
        new = [
            Figure(
                each["scenario"],
                each["name"],
                each["runs"],
                [Target(**target) for target in each["targets"]],
            )
            for each in found
        ]
        print(table(new), flush=True)
        figures += new
    return figures


async def _main(options: argparse.Namespace) -> None:
    names = options.names or [name for name in _SCENARIOS if name not in _ASKED_FOR]
    quick = options.quick
    sizes = {"runs": options.runs, "seconds": 1.0 if quick else options.seconds, "quick": quick}
    loop_us = [python_loop_us()]
    failed: list[str] = []
    async with servers(2.0 if quick else _WARM_UP_S, sizes) as world:
        figures = await _run(names, world, failed)
        connection = await asyncpg.connect(world.dsn)
        postgres = await connection.fetchval("show server_version")
        await connection.close()
    loop_us.append(python_loop_us())
    if not figures:
        raise SystemExit("failed: " + "; ".join(failed))
    facts = machine_facts([f"Apache Kafka {kafka_version()}", f"PostgreSQL {postgres}"])
    facts["speed"] = "; ".join((
        f"future hop {_spread(figures, 'hop_us')} us",
        f"fixed Python work {_spread(figures, 'work_ms')} ms",
        f"Python loop step {loop_us[0]:.3f} us at the start, {loop_us[1]:.3f} us at the end",
        f"other processes used {_spread(figures, 'others')} cores",
    ))  # fmt: skip
    print("\n" + table(figures) + "\n")
    if "peers" in names:
        facts["peers"] = peers.versions()
    for name, text in facts.items():
        print(f"{name}: {text}")
    if options.json is not None:
        when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        report = {"when": when, **facts, "figures": [figure.as_json() for figure in figures]}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1, default=str) + "\n", encoding="utf-8")
        print(f"written: {options.json}")
    if failed:
        raise SystemExit("failed: " + "; ".join(failed))


def _spread(figures: Sequence[Figure], key: str) -> str:
    values = [run[key] for figure in figures for run in figure.runs]
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="SCENARIO", help=", ".join(_SCENARIOS) + "; all but peers"
    )
    parser.add_argument("--runs", type=int, help="runs of each figure; 5, quick 1")
    parser.add_argument("--seconds", type=float, default=4.0, help="of a run (flush: threefold)")
    parser.add_argument("--json", type=Path, help="keep the report here")
    parser.add_argument("--quick", action="store_true", help="small: to see that it works")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in _SCENARIOS]:
        parser.error(f"no scenario {unknown[0]!r}; there are {', '.join(_SCENARIOS)}")
    options.runs = options.runs or (1 if options.quick else 5)
    return options


if __name__ == "__main__":
    try:
        asyncio.run(_main(_arguments()))
    except KafkaMissing as missing:
        raise SystemExit(f"bench: {missing}") from None
