"""DBOS: a workflow of one step, called by threads of the process that runs it.

Runs in the peers' own environment: `python dbos_workflow.py DSN`. Each line that it reads is
`CALLERS SECONDS`; for each it calls in a closed loop and writes one line of JSON, the latencies in
seconds. Threads and plain functions, since DBOS is faster so than with coroutines (tried).
"""

import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from dbos import DBOS


@DBOS.step()
def increment(number: int) -> int:
    """Return the next number; its result is recorded."""
    return number + 1


@DBOS.workflow()
def workflow(number: int) -> int:
    """Run the one step."""
    result: int = increment(number)
    return result


def _caller(seconds: float) -> Sequence[float]:
    latencies = []
    started = time.perf_counter()
    end = started + seconds
    while started < end:
        workflow(1)
        now = time.perf_counter()
        latencies.append(now - started)
        started = now
    return latencies


def main() -> None:
    """Answer the lines of standard input until it ends."""
    DBOS(
        config={
            "name": "bench",
            "system_database_url": sys.argv[1],
            "run_admin_server": False,
            "log_level": "WARNING",
        }
    )
    DBOS.launch()
    print("[]", flush=True)
    for line in sys.stdin:
        callers, seconds = line.split()
        with ThreadPoolExecutor(int(callers)) as threads:
            found = threads.map(_caller, [float(seconds)] * int(callers))
            print(json.dumps([each for latencies in found for each in latencies]), flush=True)
    DBOS.destroy()


if __name__ == "__main__":
    main()
