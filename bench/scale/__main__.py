"""`python -m bench.scale`: measure the parts that are named, or all that need no server."""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Sequence
from typing import Any, Final

from bench.machine import machine_facts

_PARTS: Final = ("assignment", "routing", "watching", "links", "idle", "model")
_WITH_SERVERS: Final = ("group", "broker")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print each part's tables, and the machine."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    every = (*_PARTS, *_WITH_SERVERS)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(every))
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--partitions", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    chosen: Any = parser.parse_args(arguments)
    if unknown := [part for part in chosen.parts if part not in every]:
        parser.error(f"no part {unknown[0]!r}; there are {', '.join(every)}")
    for part in chosen.parts or _PARTS:
        module = importlib.import_module(f"bench.scale.{part}")
        module.measure(chosen.nodes, chosen.partitions, chosen.rounds)
        print(flush=True)
    facts = machine_facts([])
    print(facts["machine"], facts["software"].partition(",")[0], time.strftime("%F"), sep="; ")


if __name__ == "__main__":
    main()
