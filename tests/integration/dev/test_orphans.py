"""No server outlives the process that wanted it, however that process ends (real processes)."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spawn.dev import EmbeddedStack

Hold = Callable[..., Any]
Wait = Callable[[Callable[[], bool], float], None]

# Two seconds between the stop signal and SIGKILL, and a busy machine.
_END_S = 8.0


def test_nothing_outlives_a_killed_parent(tmp_path: Path, hold: Hold, wait_until: Wait) -> None:
    """After SIGKILL of the parent all of its servers and the supervisor end."""
    holder = hold(tmp_path / "data")
    assert len(holder.living()) > 8  # PostgreSQL alone has that many
    os.kill(holder.process.pid, signal.SIGKILL)
    wait_until(lambda: not holder.living(), _END_S)


def test_nothing_outlives_a_killed_supervisor(tmp_path: Path, hold: Hold, wait_until: Wait) -> None:
    """After SIGKILL of the supervisor all servers end, while the parent lives."""
    holder = hold(tmp_path / "data")
    os.kill(holder.pids["supervisor"], signal.SIGKILL)
    wait_until(lambda: not holder.living(), _END_S)
    assert holder.process.poll() is None


def test_nothing_outlives_both(tmp_path: Path, hold: Hold, wait_until: Wait) -> None:
    """After SIGKILL of supervisor and parent at the same moment all servers end."""
    holder = hold(tmp_path / "data")
    os.kill(holder.process.pid, signal.SIGSTOP)
    os.kill(holder.pids["supervisor"], signal.SIGKILL)
    os.kill(holder.process.pid, signal.SIGKILL)
    wait_until(lambda: not holder.living(), _END_S)


def test_a_frozen_server_ends_too(tmp_path: Path, hold: Hold, wait_until: Wait) -> None:
    """A server that is frozen when the parent is killed ends like the others."""
    holder = hold(tmp_path / "data", "kafka", "postgres")
    for name in ("kafka", "postgres"):
        os.kill(holder.pids[name], signal.SIGSTOP)
    os.kill(holder.process.pid, signal.SIGKILL)
    wait_until(lambda: not holder.living(), _END_S)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
async def test_the_supervisor_leaves_the_terminals_signals_to_the_parent(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Ctrl-C and a closed terminal reach everybody; the supervisor does not act on them."""
    async with EmbeddedStack(tmp_path / "data", postgres=False, nats=False) as stack:
        os.kill(stack.endpoints.pids["supervisor"], number)
        # It still takes requests after the signal.
        await stack.freeze("kafka")
        await stack.thaw("kafka")
        assert os.getpgid(stack.pid("kafka")) == stack.pid("kafka")
        assert os.getsid(stack.endpoints.pids["supervisor"]) != os.getsid(0)


def test_sigterm_to_the_supervisor_ends_the_servers(
    tmp_path: Path, hold: Hold, wait_until: Wait
) -> None:
    """SIGTERM ends the servers first, then the supervisor."""
    holder = hold(tmp_path / "data")
    os.kill(holder.pids["supervisor"], signal.SIGTERM)
    wait_until(lambda: not holder.living(), _END_S)


async def test_the_folder_is_free_soon_after_a_kill(tmp_path: Path, hold: Hold) -> None:
    """A stack started right after SIGKILL of the one before waits for its servers to end."""
    holder = hold(tmp_path / "data", "postgres")
    os.kill(holder.process.pid, signal.SIGKILL)
    async with EmbeddedStack(tmp_path / "data", kafka=False, nats=False) as stack:
        assert stack.postgres_dsn == holder.said["dsn"]
        assert not holder.living()
