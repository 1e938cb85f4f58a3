"""`python -m examples.flights`: the demo (see the package's docstring)."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

from rich.console import Console

from examples.flights.data import FlightsMissing
from examples.flights.delivery import DeliveryFailed, Unanswered
from examples.flights.demo import DemoOptions, run_demo
from examples.flights.feeder import new_event_loop
from examples.flights.node import NodeEnded
from spawn import SpawnError


def main() -> int:
    """Run the demo; return the exit code: 0 when every aircraft is right."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.flights",
        description="A year of flights through Spawn, with a kill half-way and a check of it all.",
    )
    parser.add_argument("--rows", type=int, help="only the first rows of the file")
    parser.add_argument(
        "--keep",
        action="store_true",
        default=os.environ.get("KEEP", "0") not in ("", "0"),
        help="leave it all running at the end, until Ctrl-C (or KEEP=1)",
    )
    parser.add_argument(
        "--folder", type=Path, default=DemoOptions().folder, help="for servers, logs and picture"
    )
    arguments = parser.parse_args()
    options = DemoOptions(rows_max=arguments.rows, keep=arguments.keep, folder=arguments.folder)
    console = Console()
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            return 0 if runner.run(_interruptible(options, console)) else 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("stopped; nothing is left running")
        return 130
    except SpawnError as error:
        console.print(f"error: {error.message} [{error.code}]", markup=False)
        if error.hint:
            console.print(f"  hint: {error.hint}", markup=False)
    except (FlightsMissing, NodeEnded, DeliveryFailed, Unanswered) as error:
        console.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
    return 1


async def _interruptible(options: DemoOptions, console: Console) -> bool:
    """Run the demo; SIGTERM ends it in order, as SIGINT does."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await run_demo(options, console)


if __name__ == "__main__":
    sys.exit(main())
