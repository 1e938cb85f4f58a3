"""The event loop of commands that serve: uvloop where it is installed (extra `speed`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["run_serving"]

_T = TypeVar("_T")

_FORCED = 130
"""Exit status after a second signal, as shells give it for an interrupted command."""


def run_serving(main: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine to its end; signals are the coroutine's own matter.

    Raises: SystemExit - it was broken off by a second signal.
    """
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    try:
        import uvloop
    except ImportError:
        pass
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        try:
            return runner.run(main)
        except asyncio.CancelledError:
            raise SystemExit(_FORCED) from None
