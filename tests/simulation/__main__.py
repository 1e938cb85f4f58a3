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


def _many(first: int, count: int, jobs: int) -> int:
    began = time.monotonic()
    coverage: Counter[str] = Counter()
    losses: Counter[str] = Counter()
    failed: list[Report] = []
    operations = told = 0
    with ProcessPoolExecutor(jobs) as pool:
        for report in pool.map(_quiet_seed, range(first, first + count), chunksize=4):
            coverage.update(report.coverage)
            operations += report.operations
            told += report.told
            losses.update(report.losses)
            if report.wrong:
                failed.append(report)
                print(f"seed {report.seed} FAILED: {report.wrong[0]}", flush=True)
                print(f"  repeat: python -m tests.simulation --seed {report.seed}", flush=True)
    seconds = time.monotonic() - began
    print(f"{count} seeds in {seconds:.0f} s, {operations} operations, {told} with known outcome")
    print("faults: " + ", ".join(f"{name} {times}" for name, times in sorted(coverage.items())))
    print("lost by the log: " + ", ".join(f"{n} {times}" for n, times in sorted(losses.items())))
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
