"""The supervisor process: its children live no longer than the process that wanted them.

    python -m spawn.dev.supervisor [--parent PID] [--keep-fd FD ...]

It runs commands as children and ends them when its control pipe (stdin) closes or its parent is
gone: the parent may close the pipe, crash or be killed with SIGKILL. Each child gets its stop
signal, and SIGKILL 2 s later, with everything that descends from it. It needs the standard library
only and keeps to few modules of it (no dataclasses, no asyncio), since it stands first in every
start.

Over 400 lines: the stack runs it by its path, without the package around it, so it has to be one
file; a fifth of it is this text, its protocol.

Control (stdin) and reports (stdout) are JSON, one object a line. Each request bears an `id`; its
reply `{"re": id, "ok": true, ...}` or `{"re": id, "ok": false, "error": "..."}` comes once, in any
order.

    request                                     reply, further fields
    {"id", "op": "start", "name", "argv",       pid. `argv[0]` is an absolute path; `env` the whole
     "env", "cwd", "log", "stop_signal",        environment; `log` takes stdout and stderr, at its
     "identity"}                                end; `identity` is null or {"mode", "uid", "gid"}
    {"id", "op": "signal", "name", "signal"}    count of processes signalled: the child and all that
                                                descend from it
    {"id", "op": "stop", "name", "grace_s"}     none; the child is continued, gets its stop signal,
                                                and SIGKILL with its descendants `grace_s` s later
    {"id", "op": "try_identity", "identity"}    none; ok when a child of that identity can be made

    report
    {"event": "ready", "pid"}                   once, when requests are taken
    {"event": "exited", "name", "pid",          a child has ended (one of code and signal is null)
     "code", "signal"}                          and nothing that descended from it is left

Identities are for programs that refuse to run as root. Mode `userns`: the child runs in a user
namespace in which our own user bears the number `uid`: files keep their owner, and nobody else
gains access. Mode `setuid`: the child runs as that user of the system.

Signals: SIGINT and SIGHUP are ignored (a terminal sends them to everybody: the parent decides),
SIGTERM ends the children and then the supervisor. When the supervisor itself is killed with
SIGKILL, Linux kills the children (PR_SET_PDEATHSIG); descendants of those see their own parent die.
On macOS nothing does, except that the parent, if it still lives, kills what it knows of.

File descriptors named by --keep-fd (the stack's lock) stay open here to the end, and in no child.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import selectors
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = ["main"]

_GRACE_S = 2.0
"""From the stop signal to SIGKILL when the parent is gone. Longer, and a killed `spawn dev` would
be seen lingering; shorter, and PostgreSQL's checkpoint would be cut off on a slow disk (harmless:
it recovers at the next start)."""

_SETTLE_S = 2.0
"""How long the end of a child is held back for killed descendants that have not vanished yet. Only
one stuck in the kernel takes that long, and waiting more would not help."""

_PARENT_CHECK_S = 1.0
"""How often the parent's life is looked at. The pipe tells at once; this is for the case that some
process forked from the parent still holds the pipe's other end."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_CLONE_NEWUSER = 0x10000000
_IS_LINUX = sys.platform == "linux"


class _Child:
    """A started command, until its end is reported."""

    __slots__ = ("ended_at", "kill_at", "name", "pid", "status", "stop_signal")

    def __init__(self, name: str, pid: int, stop_signal: int) -> None:
        self.name = name
        self.pid = pid
        self.stop_signal = stop_signal
        self.kill_at: float | None = None
        self.status: int | None = None
        """The wait status, once the process has been reaped."""
        self.ended_at = 0.0

    @property
    def runs(self) -> bool:
        return self.status is None


class _Supervisor:
    """The loop: control pipe and SIGCHLD in, signals and reports out. One thread, no locks."""

    def __init__(self, control_fd: int, report_fd: int, parent_pid: int) -> None:
        self._control_fd = control_fd
        self._report_fd = report_fd
        self._parent_pid = parent_pid
        self._received = b""
        self._children: dict[str, _Child] = {}
        self._ending = False
        self._terminated = False

    def run(self) -> None:
        """Serve until the parent closes the pipe or dies, and every child has ended."""
        # Unlike epoll it takes any file as control, and two descriptors need no better one.
        selector = selectors.SelectSelector()
        selector.register(self._control_fd, selectors.EVENT_READ)
        selector.register(self._watch_signals(), selectors.EVENT_READ)
        self._report({"event": "ready", "pid": os.getpid()})
        while not (self._ending and not self._children):
            for key, _ in selector.select(self._wait_s()):
                if key.fd == self._control_fd:
                    self._take_requests(selector)
                else:
                    _drain(key.fd)
            if self._terminated or os.getppid() != self._parent_pid:
                self._end()
            self._reap()
            self._kill_overdue()
            self._report_ended()

    def _watch_signals(self) -> int:
        """Make signals wake the loop through a pipe; return the end to read."""
        readable, writable = os.pipe()
        os.set_blocking(readable, False)
        os.set_blocking(writable, False)
        signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_terminate)
        # A parent may have blocked them for us.
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        return readable

    def _on_terminate(self, *_: object) -> None:
        self._terminated = True

    def _wait_s(self) -> float:
        """Seconds until something is due that no file descriptor announces."""
        now = time.monotonic()
        due = [child.kill_at - now for child in self._children.values() if child.kill_at]
        if any(not child.runs for child in self._children.values()):
            due.append(0.05)
        return max(0.0, min([_PARENT_CHECK_S, *due]))

    # --- requests ---

    def _take_requests(self, selector: selectors.BaseSelector) -> None:
        received = os.read(self._control_fd, 65536)
        if not received:
            selector.unregister(self._control_fd)
            self._end()
            return
        *lines, self._received = (self._received + received).split(b"\n")
        for line in lines:
            self._answer(json.loads(line))

    def _answer(self, request: Mapping[str, Any]) -> None:
        try:
            fields = self._perform(request)
        except (OSError, LookupError) as error:
            self._report({"re": request["id"], "ok": False, "error": str(error)})
        else:
            self._report({"re": request["id"], "ok": True, **fields})

    def _perform(self, request: Mapping[str, Any]) -> dict[str, object]:
        match request["op"]:
            case "start":
                return {"pid": self._start(request)}
            case "signal":
                child = self._running(request["name"])
                return {"count": _signal_tree(child.pid, signal.Signals[request["signal"]])}
            case "stop":
                self._stop(self._running(request["name"]), request["grace_s"])
                return {}
            case "try_identity":
                _try_identity(request["identity"])
                return {}
            case other:
                raise LookupError(f"no request is called {other!r}")

    def _running(self, name: str) -> _Child:
        child = self._children.get(name)
        if child is None or not child.runs:
            raise LookupError(f"{name} does not run")
        return child

    def _start(self, request: Mapping[str, Any]) -> int:
        name = request["name"]
        if name in self._children:
            raise LookupError(f"{name} runs already")
        if self._ending:
            raise LookupError("the supervisor is ending")
        # Looked up first: after the fork nothing may fail.
        stop_signal = signal.Signals[request["stop_signal"]]
        pid = _spawn(request)
        self._children[name] = _Child(name, pid, stop_signal)
        return pid

    # --- ends ---

    def _end(self) -> None:
        """Stop every child, once."""
        if not self._ending:
            self._ending = True
            for child in self._children.values():
                if child.runs:
                    self._stop(child, _GRACE_S)

    def _stop(self, child: _Child, grace_s: float) -> None:
        # A frozen child would never see the stop signal.
        _signal_tree(child.pid, signal.SIGCONT)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, child.stop_signal)
        child.kill_at = time.monotonic() + grace_s

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for child in self._children.values():
            if child.runs and child.kill_at is not None and child.kill_at <= now:
                _signal_tree(child.pid, signal.SIGKILL)
                child.kill_at = None

    def _reap(self) -> None:
        """Collect every process that has ended, descendants that were left to us included."""
        by_pid = {child.pid: child for child in self._children.values()}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in by_pid:
                by_pid[pid].status = status
                by_pid[pid].ended_at = time.monotonic()

    def _report_ended(self) -> None:
        """Report the ended children, as soon as nothing that descended from them is left.

        Whoever starts PostgreSQL again on the same folder can rely on that.
        """
        ended = [child for child in self._children.values() if not child.runs]
        if not ended:
            return
        leftovers_stay = self._kill_leftovers()
        for child in ended:
            if not leftovers_stay or time.monotonic() >= child.ended_at + _SETTLE_S:
                del self._children[child.name]
                self._report(_exit_report(child))

    def _kill_leftovers(self) -> bool:
        """Kill the processes whose parent died and that therefore are ours; true if there are any.

        None of our commands detaches a process on purpose. Only Linux hands us such processes.
        """
        ours = {child.pid for child in self._children.values()}
        leftovers = [p for p, parent in _parents().items() if parent == os.getpid()]
        leftovers = [pid for pid in leftovers if pid not in ours]
        for pid in leftovers:
            _signal_tree(pid, signal.SIGKILL)
        return bool(leftovers)

    def _report(self, message: Mapping[str, object]) -> None:
        # Blocking: a report is smaller than PIPE_BUF and there are few of them, so the pipe never
        # fills. A parent that is gone is noticed by the loop.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._report_fd, json.dumps(message).encode() + b"\n")


def _exit_report(child: _Child) -> dict[str, object]:
    code = os.waitstatus_to_exitcode(child.status or 0)
    return {
        "event": "exited",
        "name": child.name,
        "pid": child.pid,
        "code": code if code >= 0 else None,
        "signal": -code if code < 0 else None,
    }


# --- processes -----------------------------------------------------------------------------------


def _spawn(request: Mapping[str, Any]) -> int:
    """Start the command and return its pid once the program itself runs.

    Raises: OSError - it could not be started; the text says at which step.
    """
    log_fd = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    # Closed by a successful execve, so end of file means success.
    error_fd, child_error_fd = os.pipe()
    supervisor_pid = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            _become(request, log_fd, supervisor_pid)
        except BaseException as error:  # noqa: BLE001 - the child may never return into the loop
            os.write(child_error_fd, str(error).encode())
        finally:
            os._exit(127)
    os.close(log_fd)
    os.close(child_error_fd)
    # Both sides do it, since either may come first.
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)
    error_text = _read_all(error_fd)
    if error_text:
        os.waitpid(pid, 0)
        raise OSError(error_text.decode())
    return pid


def _become(request: Mapping[str, Any], log_fd: int, supervisor_pid: int) -> None:
    """Turn the forked process into the command; returns only by raising."""
    os.setpgid(0, 0)
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        # execve resets handlers but keeps what is ignored, as SIGPIPE is in every Python process.
        if signal.getsignal(number) is not signal.SIG_DFL:
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL)
    os.umask(0o077)
    # Before the identity changes: the log belongs to us.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log_fd, 1)
    os.dup2(log_fd, 2)
    if request["identity"] is not None:
        _take_identity(request["identity"])
    # After the identity, since a change of user clears it.
    _die_with(supervisor_pid)
    os.chdir(request["cwd"])
    os.execve(request["argv"][0], request["argv"], request["env"])


def _die_with(supervisor_pid: int) -> None:
    """Have the kernel kill this process when the supervisor dies (Linux)."""
    if _IS_LINUX:
        _libc_call("prctl", _PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != supervisor_pid:
            os._exit(127)


def _take_identity(identity: Mapping[str, Any]) -> None:
    uid, gid = identity["uid"], identity["gid"]
    if identity["mode"] == "userns":
        _enter_user_namespace(uid, gid)
    else:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)


def _enter_user_namespace(uid: int, gid: int) -> None:
    """Make a user namespace in which our own user and group bear these numbers."""
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    _libc_call("unshare", _CLONE_NEWUSER)
    # The kernel asks for it before an unprivileged process may map its group.
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{uid} {outer_uid} 1")
    _write("/proc/self/gid_map", f"{gid} {outer_gid} 1")


def _try_identity(identity: Mapping[str, Any]) -> None:
    """Raise OSError if no process of that identity can be made here."""
    error_fd, child_error_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            signal.set_wakeup_fd(-1)
            _take_identity(identity)
            if os.geteuid() != identity["uid"]:
                raise OSError("the user did not change")
        except BaseException as error:  # noqa: BLE001 - the child may never return into the loop
            os.write(child_error_fd, str(error).encode())
        finally:
            os._exit(0)
    os.close(child_error_fd)
    error_text = _read_all(error_fd)
    os.waitpid(pid, 0)
    if error_text:
        raise OSError(error_text.decode())


def _libc_call(function: str, *arguments: int) -> None:
    # Loaded only where it is needed: it costs a third of the start.
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")


def _signal_tree(root: int, number: signal.Signals) -> int:
    """Signal a process and everything that descends from it; return how many got it.

    The root comes first: frozen or dead it makes no more children. PostgreSQL's processes are each
    in a process group of their own, so a group alone would not reach them.
    """
    count = 0
    for pid in [root, *_descendants(root)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            count += 1
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(root, number)
    return count


def _descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for pid, parent in _parents().items():
        children.setdefault(parent, []).append(pid)
    found = list(children.get(root, ()))
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def _parents() -> dict[int, int]:
    """Return the parent of every process on the machine that we may see."""
    if not _IS_LINUX:
        return _parents_by_ps()
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - pathlib costs a fifth of the start
        if entry.isdigit():
            # Some end while we look.
            with contextlib.suppress(OSError):
                parents[int(entry)] = _parent(int(entry))
    return parents


def _parent(pid: int) -> int:
    with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - as above
        # pid (name) state parent ...; the name may hold anything, brackets too.
        return int(file.read().rpartition(b")")[2].split()[1])


def _parents_by_ps() -> dict[int, int]:
    import subprocess

    command = ["/bin/ps", "-A", "-o", "pid=,ppid="]
    lines = subprocess.run(command, capture_output=True, check=False, timeout=5).stdout.splitlines()
    return {int(pid): int(parent) for pid, parent in (line.split() for line in lines)}


# --- file descriptors ----------------------------------------------------------------------------


def _read_all(fd: int) -> bytes:
    with os.fdopen(fd, "rb") as file:
        return file.read()


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:  # noqa: PTH123 - as above
        file.write(text)


def _drain(fd: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(fd, 4096):
            pass


def _move_aside(fd: int) -> int:
    """Duplicate to a number above the standard ones that no child inherits."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)


def _take_over_pipes() -> tuple[int, int]:
    """Keep the two pipes for ourselves: a stray print or read must not touch them."""
    control_fd, report_fd = _move_aside(0), _move_aside(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    return control_fd, report_fd


def _arguments(argv: list[str]) -> tuple[int, list[int]]:
    """Return the parent's pid and the file descriptors to keep."""
    parent_pid, kept = os.getppid(), []
    for option, value in zip(argv[::2], argv[1::2], strict=True):
        if option == "--parent":
            parent_pid = int(value)
        elif option == "--keep-fd":
            kept.append(int(value))
        else:
            sys.exit(f"spawn.dev.supervisor has no option {option}")
    return parent_pid, kept


def main(argv: list[str]) -> None:
    """Run the supervisor on stdin and stdout."""
    parent_pid, kept = _arguments(argv)
    for fd in kept:
        os.set_inheritable(fd, False)
    control_fd, report_fd = _take_over_pipes()
    if _IS_LINUX:
        # Descendants whose parent died become ours, so that they can be found and killed.
        _libc_call("prctl", _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _Supervisor(control_fd, report_fd, parent_pid).run()


if __name__ == "__main__":
    main(sys.argv[1:])
