"""A terminal that types a page's commands and compares what they print with what the page shows.

Every command of a page runs in bash, in one scratch folder; folder, variables and `$?` go from one
to the next. In commands `localhost:9001` becomes the address of the page's node and a pid that the
page shows the pid that was printed here. `spawn dev` runs in the background: one whose output the
page shows is started for that page, one without is the server that all pages share. A block without
a command is what the page's `spawn dev` prints meanwhile.

What differs from run to run is compared as one word: times, dates, durations, pids, ports,
positions, folders, claims. `...` stands for the rest of a line or, alone, for any number of lines.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.docs.pages import ROOT, Block
from tests.services.keeper import KeptProcess

__all__ = ["Dev", "Terminal", "commands_of", "difference"]

_COMMAND_TIMEOUT_S: Final = 40
_DEV_TIMEOUT_S: Final = 60
_SAID_TIMEOUT_S: Final = 20
_ADDRESS: Final = "localhost:9001"
_DEV: Final = re.compile(r"^spawn dev\b(?!.*--help)")
_PID: Final = re.compile(r"\b(?:pid|node|as) (\d+)\b")

# In this order: what an earlier one made is not looked at again.
_WILDCARDS: Final = (
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(\+\d\d:\d\d|Z)?"), "<date>"),
    (re.compile(r"\d{4}-\d\d-\d\d"), "<date>"),
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "<time>"),
    (re.compile(r"\b\d+(\.\d+)? ?(s|ms|seconds)\b"), "<duration>"),
    (re.compile(r"\S*/\.spawn/"), "<folder>/.spawn/"),
    (re.compile(r"(127\.0\.0\.1|localhost):\d+"), "<address>"),
    (re.compile(r"\b(pid|node|as) \d+"), r"\1 <pid>"),
    (re.compile(r"\b\d+ (records?) read"), r"<n> \1 read"),
    (re.compile(r"[\w./-]+/\d+@\d+"), "<position>"),
    (re.compile(r"\b\d+@\d+"), "<position>"),
    (re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{8}\b"), "<claim>"),
    (re.compile(r"[ \t]+"), " "),
)


class Dev:
    """A `spawn dev` of our own, on a free port."""

    def __init__(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._log = folder / f".dev-{time.monotonic_ns()}.log"
        self._log.touch()
        self._process = KeptProcess(
            [sys.executable, "-m", "spawn.cli.main", "dev", *arguments, "--http-port", "0"],
            log=self._log,
            folder=folder,
            environment=environment,
        )
        try:
            self.wait_for("Ctrl-C stops everything", _DEV_TIMEOUT_S)
        except AssertionError:
            self.stop()
            raise
        address = re.search(r"http +http://(127\.0\.0\.1:\d+)", self.said())
        assert address is not None, self.said()
        self.address = address[1]

    def said(self) -> str:
        """Return all it has printed but log lines: on a terminal they look otherwise."""
        text = self._log.read_text(encoding="utf-8")
        return re.sub(r'(?m)^\{"time": .*\n', "", text)

    def wait_for(self, words: str, timeout_s: float = _SAID_TIMEOUT_S) -> None:
        """Wait until it has printed `words`."""
        deadline = time.monotonic() + timeout_s
        while words not in self.said():
            ended = self._process.returncode is not None
            if ended or time.monotonic() > deadline:
                raise AssertionError(f"spawn dev did not say {words!r}, but\n{self.said()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it as Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(timeout_s=20)
        except subprocess.TimeoutExpired:
            self._process.kill()


class Terminal:
    """Types the console blocks of one page, or of several that go on from one another."""

    def __init__(self, folder: Path, shared: object) -> None:
        """`shared()` returns the `Dev` that all pages share; it is called when it is needed."""
        self.folder = folder
        folder.mkdir(parents=True)
        self._working = folder / "work"
        self._working.mkdir()
        (self._working / "examples").symlink_to(ROOT / "examples")
        (folder / ".curlrc").write_text("silent\nshow-error\n", encoding="utf-8")
        self._shared = shared
        self.problems: list[str] = []
        self._dev: Dev | None = None
        self._own: list[Dev] = []
        self._pids: list[str] = []
        """Those that the page shows, in the order in which `spawn dev` said them."""
        self._exit_code = 0
        self._variables = folder / ".variables"
        self._variables.touch()
        self._jobs = folder / ".jobs"
        self._jobs.touch()
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SPAWN_", "PYTEST_", "COV_"))
        } | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "CURL_HOME": str(folder),
            "TZ": "UTC",
            "COLUMNS": "100",
            "PYTHONDONTWRITEBYTECODE": "1",
            # A reader of the pages need not have it, and it says so in every run that sets nothing.
            "PYTEST_ADDOPTS": "-p no:asyncio -p no:cacheprovider",
        }

    @property
    def working_folder(self) -> Path:
        """Where the next command runs."""
        return self._working

    def write(self, name: str, text: str) -> None:
        """Write a file that the page shows."""
        file = self._working / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def type(self, block: Block) -> None:
        """Type a console block's commands; what prints something else is added to `problems`."""
        commands = list(commands_of(block.text))
        if not commands:
            self._hear(block)
        for command, shown in commands:
            if _DEV.match(command):
                printed = self._start_dev(command, shown)
            else:
                printed = self._run(command)
            if wrong := difference(shown, printed):
                self.problems.append(f"{block.place}: $ {command}\n{wrong}")

    def close(self) -> None:
        """Stop what was started for this page, also in the background."""
        for pid in self._jobs.read_text(encoding="utf-8").split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        for dev in self._own:
            dev.stop()

    def _hear(self, block: Block) -> None:
        assert self._dev is not None, f"{block.place}: no `spawn dev` runs that could say it"
        deadline = time.monotonic() + _SAID_TIMEOUT_S
        while wrong := difference(f"...\n{block.text}...\n", self._dev.said()):
            if time.monotonic() > deadline:
                self.problems.append(f"{block.place}: spawn dev\n{wrong}")
                break
            time.sleep(0.1)
        self._pids = list(dict.fromkeys([*self._pids, *_PID.findall(block.text)]))

    def _start_dev(self, command: str, shown: str) -> str:
        if not shown:
            if self._dev is None:
                assert callable(self._shared)
                self._dev = self._shared()
                link = self._working / ".spawn"
                link.symlink_to(self._dev.folder / ".spawn")
            return ""
        words = command.partition("#")[0].split()[2:]
        self._dev = Dev(words, self._working, self.environment)
        self._own.append(self._dev)
        self._pids = list(dict.fromkeys(_PID.findall(shown)))
        return self._dev.said()

    def _run(self, command: str) -> str:
        if self._dev is not None:
            real = dict.fromkeys(_PID.findall(self._dev.said()))
            for pid, its_pid in zip(self._pids, real, strict=False):
                command = re.sub(rf"\b{pid}\b", its_pid, command)
            command = command.replace(_ADDRESS, self._dev.address)
        where = self.folder / ".where"
        script = (
            f"source {self._variables}\n(exit {self._exit_code})\n{command}\n"
            f"__code=$?; pwd >{where}; export -p >{self._variables}; jobs -p >>{self._jobs}\n"
            "exit $__code\n"
        )
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self._working,
            env=self.environment | {"PWD": str(self._working)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_COMMAND_TIMEOUT_S,
            check=False,
        )
        self._exit_code = done.returncode
        self._working = Path(where.read_text(encoding="utf-8").strip())
        return done.stdout


def commands_of(text: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a console block with the output that is shown below it."""
    for part in re.split(r"(?m)^\$ ", text)[1:]:
        command, _, shown = part.partition("\n")
        while command.endswith("\\"):
            more, _, shown = shown.partition("\n")
            command = f"{command}\n{more}"
        yield command, shown


def difference(shown: str, printed: str) -> str:
    """Return how two outputs differ where they may not; empty: they don't."""
    pattern = ""
    for line in _lines(shown):
        if line == "...":
            pattern += r"(?:[^\n]*\n)*?"
        else:
            pattern += re.escape(line).replace(re.escape("..."), r"[^\n]*") + r"\n"
    text = "".join(f"{line}\n" for line in _lines(printed))
    return "" if re.fullmatch(pattern, text) else f"shown:\n{shown}\nprinted:\n{printed}"


def _lines(text: str) -> list[str]:
    for wildcard, word in _WILDCARDS:
        text = wildcard.sub(word, text)
    return [line.strip() for line in text.strip().splitlines()]
