"""`make sim`: run seeds of the simulation, on all cores; a failing one is printed, to repeat."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.world import Report, run_seed

__all__: list[str] = []


def _quiet_seed(seed: int) -> Report:
    logging.disable(logging.CRITICAL)
    return run_seed(seed)


def _one(seed: int) -> int:
    logging.disable(logging.CRITICAL)
    report = run_seed(seed, shown=print)
    print(f"seed {seed}: trace {report.trace}, {report.steps} steps, {report.coverage}")
    for text in report.wrong:
        print(f"WRONG {text}")
    return bool(report.wrong)


def _spread(what: str, values: list[float]) -> str:
    if not values:
        return f"{what}: none"
    ordered = sorted(values)
    shown = [ordered[min(int(len(ordered) * part), len(ordered) - 1)] for part in (0.5, 0.9, 0.99)]
    middle, most, nearly = shown
    return (
        f"{what} {middle:.2f} / {most:.2f} / {nearly:.2f} / {ordered[-1]:.2f} s "
        f"(p50 / p90 / p99 / max of {len(ordered)})"
    )


def _many(first: int, count: int, jobs: int) -> int:
    began = time.monotonic()
    coverage: Counter[str] = Counter()
    losses: Counter[str] = Counter()
    failed: list[Report] = []
    operations = told = 0
    unowned: list[float] = []
    failovers: list[float] = []
    pauses: list[float] = []
    with ProcessPoolExecutor(jobs) as pool:
        for report in pool.map(_quiet_seed, range(first, first + count), chunksize=4):
            coverage.update(report.coverage)
            operations += report.operations
            told += report.told
            losses.update(report.losses)
            unowned += [report.unowned_s] if report.unowned_s is not None else []
            failovers += [report.failover_s] if report.failover_s is not None else []
            pauses += [report.pause_s] if report.pause_s is not None else []
            if report.wrong:
                failed.append(report)
                print(f"seed {report.seed} FAILED: {report.wrong[0]}", flush=True)
                print(f"  repeat: python -m tests.simulation --seed {report.seed}", flush=True)
    seconds = time.monotonic() - began
    print(f"{count} seeds in {seconds:.0f} s, {operations} operations, {told} with known outcome")
    print("faults: " + ", ".join(f"{name} {times}" for name, times in sorted(coverage.items())))
    print("lost by the log: " + ", ".join(f"{n} {times}" for n, times in sorted(losses.items())))
    print("members: " + "; ".join((
        _spread("unowned after healing", unowned),
        _spread("failover", failovers),
        _spread("longest call of a planned stop and start", pauses),
    )))  # fmt: skip
    print(f"{count - len(failed)} passed, {len(failed)} failed")
    return bool(failed)


def main() -> int:
    """Run what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first one")
    parser.add_argument("--seed", type=int, help="this one alone, with all that happens")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    if options.seed is not None:
        return _one(options.seed)
    return _many(options.first, options.seeds, options.jobs)


if __name__ == "__main__":
    sys.exit(main())
