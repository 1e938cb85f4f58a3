"""A process of its own for a scenario: `python -m bench.child module:function '[world, ...]'`.

Whatever the function prints goes to standard error; its result, as JSON, to standard output.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import sys

from bench.world import World
from spawn.runtime.event_loop import run_serving

__all__: list[str] = []


def _main() -> None:
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    place, _, name = sys.argv[1].partition(":")
    world, *args = json.loads(sys.argv[2])
    function = getattr(importlib.import_module(place), name)
    with contextlib.redirect_stdout(sys.stderr):
        result = run_serving(function(World(**world), *args))
    print(json.dumps(result))


if __name__ == "__main__":
    _main()
