"""What the system tells of a process: whether it lives, since when, and how much memory it has."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

__all__ = ["is_same_process", "kill_group_if_same", "rss_bytes", "start_token"]

_PROC = Path("/proc")


def rss_bytes(pid: int) -> int | None:
    """Return the resident memory of a process in bytes, or None when it is gone.

    The embedded broker holds its log in memory, about 1 MB for 1,000 small records: whoever runs
    the stack looks here and warns at a limit. Blocks for microseconds on Linux, for a `ps`
    elsewhere.
    """
    if _has_proc():
        try:
            pages = (_PROC / str(pid) / "statm").read_text().split()[1]
        except (OSError, IndexError):
            return None
        # A zombie is listed with no memory: it is gone for our purposes.
        return int(pages) * os.sysconf("SC_PAGE_SIZE") or None
    kibibytes = _ps(pid, "rss=")
    return int(kibibytes) * 1024 if kibibytes else None


def start_token(pid: int) -> str | None:
    """Return what tells this process from a later one with the same pid; None when it is gone.

    On Linux the start time in clock ticks since boot, elsewhere the start date as `ps` prints it.
    """
    if not _has_proc():
        return _ps(pid, "lstart=") or None
    try:
        # pid (name) state ppid ...: field 3 is the state, field 22 the start; the name may hold
        # brackets.
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    # A zombie only waits to be collected by its parent.
    return None if fields[0] in "ZX" else fields[19]


def is_same_process(pid: int, token: str) -> bool:
    """Return whether the process that `start_token` described still runs."""
    return start_token(pid) == token


def kill_group_if_same(pid: int, token: str) -> None:
    """Kill the process and its group if it is still the one that `start_token` described."""
    if is_same_process(pid, token):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def _has_proc() -> bool:
    return (_PROC / "self" / "stat").exists()


def _ps(pid: int, field: str) -> str:
    command = ["/bin/ps", "-p", str(pid), "-o", field]
    # LC_ALL: the same start must read the same in two processes.
    environment = {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        command, capture_output=True, check=False, text=True, timeout=5, env=environment
    )
    return done.stdout.strip()
