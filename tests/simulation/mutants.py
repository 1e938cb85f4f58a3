"""`make sim-mutants`: plant bugs one by one, and run seeds until each is found.

    python -m tests.simulation.mutants [BEGINNING OF A NAME ...]

The figure before a name is the number of seeds that were run until a check failed; for mistakes of
members those alone in which nodes are members.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Final

from tests.simulation.plants import PLANTS
from tests.simulation.world import run_seed

__all__ = ["find", "main"]

_SEEDS_MAX: Final = 300
"""Of one plant; not found by then counts as unfound."""


def find(name: str, first: int, seeds_max: int) -> tuple[str, int, str]:
    """Plant a bug and run seeds until it is found: name, seeds (0: unfound), what was said."""
    logging.disable(logging.CRITICAL)
    PLANTS[name]()
    # Of nodes that decide among themselves the even seeds tell; the others are found by both.
    step = 2 if name.startswith("members: ") else 1
    first += first % step
    for number in range(seeds_max):
        report = run_seed(first + number * step)
        if report.wrong:
            return name, number + 1, report.wrong[0]
    return name, 0, ""


def main() -> int:
    """Run what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="beginnings of names; all")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--seeds", type=int, default=_SEEDS_MAX, help="of each, at most")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    names = [
        name
        for name in PLANTS
        if not options.names or any(name.startswith(each) for each in options.names)
    ]
    began, unfound = time.monotonic(), 0
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=context, max_tasks_per_child=1) as pool:
        tasks = [pool.submit(find, name, options.first, options.seeds) for name in names]
        for task in tasks:
            name, seeds, said = task.result()
            unfound += not seeds
            print(f"{seeds or 'NOT FOUND':>9}  {name}: {said[:150]}", flush=True)
    seconds = time.monotonic() - began
    print(f"{len(names) - unfound} of {len(names)} found in {seconds:.0f} s")
    return bool(unfound)


if __name__ == "__main__":
    sys.exit(main())
