"""The supervisor alone, by its protocol, with children that resist."""

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

from spawn.dev import supervisor as supervisor_module
from spawn.dev.processes import start_token

Wait = Callable[[Callable[[], bool], float], None]


class Supervisor:
    """A supervisor that is talked to in its own words."""

    def __init__(self, log: Path) -> None:
        self.log = log
        script = Path(str(supervisor_module.__file__))
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(script), "--parent", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def read(self) -> dict[str, Any]:
        """Read the next reply or report."""
        assert self.process.stdout is not None
        message: dict[str, Any] = json.loads(self.process.stdout.readline())
        return message

    def ask(self, **request: object) -> dict[str, Any]:
        """Send a request and return its reply, the next message."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"id": 1, **request}).encode() + b"\n")
        self.process.stdin.flush()
        return self.read()

    def start(self, name: str, script: str, **fields: object) -> dict[str, Any]:
        """Start a shell script."""
        request: dict[str, object] = {
            "argv": ["/bin/sh", "-c", script],
            "env": {"PATH": "/usr/bin:/bin"},
            "cwd": "/",
            "log": str(self.log),
            "stop_signal": "SIGTERM",
            "identity": None,
        }
        return self.ask(op="start", name=name, **request | fields)

    def close(self) -> None:
        """Close the control pipe."""
        assert self.process.stdin is not None
        self.process.stdin.close()


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    """A running supervisor."""
    running = Supervisor(tmp_path / "child.log")
    assert running.read() == {"event": "ready", "pid": running.process.pid}
    yield running
    running.close()
    running.process.wait(timeout=10)
    assert running.process.stdout is not None
    running.process.stdout.close()


def logged(supervisor: Supervisor, count: int, wait_until: Wait) -> list[int]:
    """Return the numbers that children wrote into the log, once there are that many."""
    wait_until(lambda: supervisor.log.read_text().count("\n") >= count, 5)
    return [int(line) for line in supervisor.log.read_text().split()]


def test_a_child_that_ignores_its_stop_signal(supervisor: Supervisor, wait_until: Wait) -> None:
    """It is killed 2 s after the pipe closed, with a descendant in a session of its own."""
    supervisor.start("mule", "trap '' TERM; setsid sh -c 'echo $$; sleep 60' & echo $$; sleep 60")
    pids = logged(supervisor, 2, wait_until)
    begin = time.monotonic()
    supervisor.close()
    assert supervisor.read()["signal"] == signal.SIGKILL
    supervisor.process.wait(timeout=5)
    assert 1.9 < time.monotonic() - begin < 4
    assert [start_token(pid) for pid in pids] == [None, None]


def test_leftovers_of_a_child_end_before_it_is_reported(
    supervisor: Supervisor, wait_until: Wait
) -> None:
    """When a child's end is reported, nothing that descended from it is left."""
    supervisor.start("parent", "setsid sh -c 'echo $$; sleep 60' & sleep 0.2; exit 3")
    (pid,) = logged(supervisor, 1, wait_until)
    report = supervisor.read()
    assert (report["name"], report["code"], report["signal"]) == ("parent", 3, None)
    assert start_token(pid) is None


def test_a_program_that_is_not_there(supervisor: Supervisor) -> None:
    """The reply says why; the name is free for another try."""
    reply = supervisor.start("ghost", "", argv=["/no/such/program"])
    assert reply["ok"] is False
    assert "No such file or directory" in reply["error"]
    assert supervisor.start("ghost", "exit 0")["ok"] is True
    assert supervisor.read()["code"] == 0


def test_children_start_with_clean_signals(supervisor: Supervisor, wait_until: Wait) -> None:
    """Nothing is ignored or blocked in a child, whatever Python or the parent ignores."""
    supervisor.start("clean", "grep -E '^Sig(Blk|Ign):' /proc/self/status")
    assert supervisor.read()["code"] == 0
    masks = [int(line.split()[1], 16) for line in supervisor.log.read_text().splitlines()]
    # Beyond the classic ones, glibc's posix_spawn leaves two of its own ignored.
    assert [mask & 0x7FFFFFFF for mask in masks] == [0, 0]


def test_requests_that_make_no_sense(supervisor: Supervisor) -> None:
    """They are refused, and the supervisor goes on."""
    assert "no request is called" in supervisor.ask(op="dance")["error"]
    assert "ghost does not run" in supervisor.ask(op="stop", name="ghost", grace_s=1)["error"]
    assert supervisor.start("one", "sleep 60")["ok"] is True
    assert "runs already" in supervisor.start("one", "sleep 60")["error"]


def test_a_pipe_that_somebody_else_holds(tmp_path: Path, wait_until: Wait) -> None:
    """The parent's death counts, also when another process keeps the control pipe open."""
    script = Path(str(supervisor_module.__file__))
    # The sleeping shell inherits the pipe's end from the parent that is killed.
    program = (
        "import os, subprocess, sys, time;"
        f"s = subprocess.Popen([sys.executable, '-I', '-S', {str(script)!r},"
        " '--parent', str(os.getpid())],"
        " stdin=subprocess.PIPE);"
        "os.set_inheritable(s.stdin.fileno(), True);"
        "h = subprocess.Popen(['sleep', '60'], close_fds=False);"
        "print(s.pid, h.pid, flush=True);"
        "time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert parent.stdout is not None
    while not (line := parent.stdout.readline()).strip()[:1].isdigit():
        assert line
    supervisor_pid, holder_pid = (int(word) for word in line.split())
    try:
        parent.kill()
        parent.wait()
        parent.stdout.close()
        wait_until(lambda: start_token(supervisor_pid) is None, 5)
        assert start_token(holder_pid) is not None
    finally:
        os.kill(holder_pid, signal.SIGKILL)
