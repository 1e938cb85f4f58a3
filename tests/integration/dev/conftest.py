"""What the tests of the embedded stack share: programs that hold one, a watch over processes."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spawn.dev.processes import start_token
from spawn.dev.supervisor import _descendants

_ROOT = Path(__file__).parents[3]
_HOLDER = Path(__file__).with_name("holder.py")

Wait = Callable[[Callable[[], bool], float], None]


class Holder:
    """A process of its own that holds a stack, and what runs below it."""

    def __init__(self, folder: Path, *parts: str, wrapper: tuple[str, ...] = ()) -> None:
        self.process = subprocess.Popen(
            [*wrapper, sys.executable, str(_HOLDER), str(folder), *parts],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(_ROOT), *filter(None, sys.path)])},
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            _, errors = self.process.communicate()
            raise RuntimeError(errors)
        self.said: dict[str, Any] = json.loads(line)
        self.family = {pid: start_token(pid) for pid in _descendants(self.process.pid)}

    @property
    def pids(self) -> dict[str, int]:
        """The pids of the parts and of the supervisor."""
        pids: dict[str, int] = self.said["pids"]
        return pids

    def living(self) -> list[int]:
        """Return the processes below this one that still live, PostgreSQL's own included."""
        return [pid for pid, token in self.family.items() if token and start_token(pid) == token]

    def end(self) -> None:
        """Kill what is left, so that a failed test leaves nothing."""
        self.process.kill()
        self.process.communicate()
        for pid in self.living():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def hold(request: pytest.FixtureRequest) -> Iterator[Callable[..., Holder]]:
    """Start programs that hold a stack; they are gone after the test."""
    holders: list[Holder] = []

    def start(folder: Path, *parts: str, wrapper: tuple[str, ...] = ()) -> Holder:
        holders.append(Holder(folder, *parts, wrapper=wrapper))
        return holders[-1]

    yield start
    for holder in holders:
        holder.end()


@pytest.fixture
def wait_until() -> Wait:
    """Poll a condition until it holds; the test fails when it does not in time."""

    def wait(condition: Callable[[], bool], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"not within {timeout_s} s"
            time.sleep(0.02)

    return wait
