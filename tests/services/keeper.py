"""Runs one command that must not outlive this process: not on Ctrl-C, not on SIGKILL.

Two halves in one file. `KeptProcess` is what tests use. Run as a script, the file is the keeper: a
tiny process between the test run and the server. It holds the read end of a pipe whose write end
only the test run has; when that closes, however the test run ended, it kills the server's process
group. The server in turn gets SIGKILL from the kernel should the keeper itself be killed (Linux).

Why not PR_SET_PDEATHSIG alone: the kernel sends it when the *thread* that forked ends, and a test
may well start a server from a worker thread. The keeper forks from its only thread.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_FIRST_LINE_BYTES_MAX = 32


class KeptProcess:
    """A child process, with its output in a file, that ends when its starter does."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        remove_if_orphaned: Path | None = None,
    ) -> None:
        """Start `command`; its standard output and error are appended to `log`.

        `remove_if_orphaned` is a folder that nobody would remove once the test run is gone.

        Raises: OSError - the command cannot be run.
        """
        orphaned = [str(remove_if_orphaned)] if remove_if_orphaned else [""]
        with log.open("ab") as output:
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", str(Path(__file__).resolve()), *orphaned, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                cwd=folder,
                env=environment,
                start_new_session=True,  # Ctrl-C ends the tests, which end the server
            )
        assert self._keeper.stdout is not None
        first_line = self._keeper.stdout.readline(_FIRST_LINE_BYTES_MAX)
        if not first_line:
            self._close()
            raise OSError(f"cannot run {command[0]}; its log is {log}")
        self.pid = int(first_line)

    @property
    def returncode(self) -> int | None:
        """The exit code (negative: the signal that ended it), None while it runs."""
        code = self._keeper.poll()
        return None if code is None else _unshift(code)

    def send_signal(self, number: signal.Signals) -> None:
        """Signal the process; nothing happens once it has ended."""
        if self._keeper.poll() is None:
            os.kill(self.pid, number)

    def wait(self, timeout_s: float) -> int:
        """Wait for its end and return the exit code.

        Raises: subprocess.TimeoutExpired.
        """
        code = _unshift(self._keeper.wait(timeout_s))
        self._close()
        return code

    def kill(self) -> None:
        """End it at once, and everything in its process group."""
        self.send_signal(signal.SIGCONT)
        self.send_signal(signal.SIGKILL)
        self.wait(timeout_s=10)

    def _close(self) -> None:
        for pipe in (self._keeper.stdin, self._keeper.stdout):
            if pipe is not None:
                pipe.close()
        self._keeper.wait(timeout=10)


def _unshift(code: int) -> int:
    """Undo what a shell does too: an exit code above 128 stands for a signal."""
    return 128 - code if code > 128 else code


def _die_with_keeper(keeper_pid: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != keeper_pid:  # it died before the line above
        os._exit(1)


def _keep(orphaned: str, command: Sequence[str]) -> int:
    """Run the command until it ends or standard input closes; the exit code is the command's."""
    keeper_pid = os.getpid()
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        stderr=sys.stderr,
        process_group=0,
        preexec_fn=lambda: _die_with_keeper(keeper_pid),  # noqa: PLW1509 - no other thread runs yet
    )

    is_orphaned = threading.Event()

    def end_with_the_test_run() -> None:
        # Not sys.stdin: a thread that waits in there would hold up the end of the interpreter.
        while os.read(sys.stdin.fileno(), 1):
            pass
        is_orphaned.set()
        os.killpg(child.pid, signal.SIGKILL)

    print(child.pid, flush=True)
    threading.Thread(target=end_with_the_test_run, daemon=True).start()
    code = child.wait()
    if is_orphaned.is_set() and orphaned:
        shutil.rmtree(orphaned, ignore_errors=True)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(_keep(sys.argv[1], sys.argv[2:]))
