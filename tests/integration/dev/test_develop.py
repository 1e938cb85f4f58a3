"""`spawn dev` as a process: reloads, restarts its node, and ends whole (real processes)."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from spawn.dev import dev_file
from spawn.dev.processes import start_token
from spawn.dev.supervisor import _descendants

pytestmark = pytest.mark.timeout(60)

Wait = Callable[[Callable[[], bool], float], None]

_COUNTER = Path(__file__).parents[3] / "examples" / "counter.py"
_MAIN = "from spawn.cli.main import main; main()"
_SOON_S = 20.0


class Develop:
    """A running `spawn dev counter.py` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.target = folder / "counter.py"
        self.target.write_bytes(_COUNTER.read_bytes())
        self._output = folder / "output.txt"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _MAIN, "dev", "counter.py", "--http-port", "0"],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.family: dict[int, str | None] = {}

    def said(self) -> str:
        return self._output.read_text()

    @property
    def serves(self) -> bool:
        assert self.process.poll() is None, self.said()
        return dev_file.read(self.folder / ".spawn") is not None

    @property
    def node_pid(self) -> int:
        running = dev_file.read(self.folder / ".spawn")
        assert running is not None
        return running.pids["node"]

    def add(self, n: int) -> int:
        running = dev_file.read(self.folder / ".spawn")
        assert running is not None
        url = f"{running.http_url}/v1/actors/Counter/a/add"
        with urllib.request.urlopen(url, data=str(n).encode(), timeout=10) as answer:
            return int(json.loads(answer.read()))

    def edit(self, before: str, after: str) -> None:
        text = self.target.read_text()
        assert before in text
        self.target.write_text(text.replace(before, after))

    def living(self) -> list[int]:
        return [pid for pid, token in self.family.items() if token and start_token(pid) == token]

    def remember_family(self) -> None:
        self.family = {pid: start_token(pid) for pid in _descendants(self.process.pid)}

    def end(self) -> None:
        self.remember_family()
        self.process.kill()
        self.process.wait()
        for pid in self.living():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def develop(tmp_path: Path, wait_until: Wait) -> Iterator[Develop]:
    """Run `spawn dev` until the test is over."""
    running = Develop(tmp_path)
    try:
        wait_until(lambda: running.serves, 40.0)
        yield running
    finally:
        running.end()


def test_a_save_reloads_and_a_broken_one_leaves_the_code_before(
    develop: Develop, wait_until: Wait
) -> None:
    """States are kept; a file that can't be loaded is named, and mended it is served again."""
    assert develop.add(5) == 5
    develop.edit("return self.state.total\n\n    @action.read", "return -1\n\n    @action.read")
    wait_until(lambda: develop.add(0) == -1, _SOON_S)
    wait_until(lambda: "counter.py changed: node" in develop.said(), 5.0)

    develop.edit("return -1\n", "return -1 +\n")
    wait_until(lambda: "counter.py changed and can't be served" in develop.said(), _SOON_S)
    assert "can't be loaded: invalid syntax" in develop.said()
    assert develop.add(0) == -1

    develop.edit("return -1 +\n", "return self.state.total\n")
    wait_until(lambda: develop.add(0) == 5, _SOON_S)


def test_no_call_is_refused_while_nodes_change_places(develop: Develop) -> None:
    """Each call has a connection of its own: one of the two nodes answers it."""
    for number in range(1, 4):
        develop.target.write_text(develop.target.read_text() + f"# {number}\n")
        while develop.said().count("counter.py changed: node") < number:
            develop.add(1)


def test_types_that_cant_read_the_history_are_refused_before_the_node_is_stopped(
    develop: Develop, wait_until: Wait
) -> None:
    """The event's field changed its type: the difference is named and the code before serves."""
    develop.add(5)
    develop.edit("    n: int\n", "    n: str\n")
    wait_until(lambda: "can't be served: the code before goes on" in develop.said(), _SOON_S)
    assert "[schema-incompatible]" in develop.said()
    assert develop.add(1) == 6


def test_a_killed_node_is_started_again_and_the_call_meanwhile_is_answered(
    develop: Develop, wait_until: Wait
) -> None:
    """The listening socket outlives the node: a call waits and nothing acknowledged is lost."""
    assert develop.add(5) == 5
    killed = develop.node_pid
    os.kill(killed, signal.SIGKILL)
    assert develop.add(2) == 7
    wait_until(lambda: f"node {killed} was killed (SIGKILL); started again" in develop.said(), 5.0)
    assert develop.node_pid != killed


def test_a_node_that_ends_at_once_each_time_is_given_up(develop: Develop, wait_until: Wait) -> None:
    """It does not go on for ever."""

    def is_other_or_gone(pid: int) -> bool:
        running = dev_file.read(develop.folder / ".spawn")
        return running is None or running.pids["node"] != pid

    while (running := dev_file.read(develop.folder / ".spawn")) is not None:
        pid = running.pids["node"]
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        wait_until(partial(is_other_or_gone, pid), _SOON_S)
    wait_until(lambda: develop.process.poll() is not None, _SOON_S)
    assert develop.process.returncode == 1
    assert "as the 5 before it" in develop.said()


def test_a_file_that_never_ends_importing_can_be_mended(develop: Develop, wait_until: Wait) -> None:
    """It is named; the code before goes on, and its end is seen, too."""
    develop.add(5)
    develop.edit("from dataclasses", "while True:\n    pass\nfrom dataclasses")
    wait_until(lambda: "still loading counter.py" in develop.said(), _SOON_S)
    assert develop.add(1) == 6
    killed = develop.node_pid
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: f"node {killed} was killed (SIGKILL): nothing serves" in develop.said(), 5.0)
    develop.edit("while True:\n    pass\n", "")
    wait_until(lambda: "changed while it was loaded" in develop.said(), 5.0)
    wait_until(lambda: "counter.py changed: node" in develop.said(), _SOON_S)
    assert develop.add(1) == 7


def test_a_next_node_that_is_killed_is_no_fault_of_the_code(
    develop: Develop, wait_until: Wait
) -> None:
    """While it waits for its turn, and while it loads."""
    develop.remember_family()

    def standbys() -> list[int]:
        found = []
        for pid in _descendants(develop.process.pid):
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{pid}/cmdline").read_bytes()
                if b"spawn.dev.node_child" in command and pid != develop.node_pid:
                    found.append(pid)
        return found

    develop.add(5)
    wait_until(lambda: len(standbys()) == 1, 5.0)
    for pid in standbys():
        os.kill(pid, signal.SIGKILL)
    develop.edit("from dataclasses", "import time; time.sleep(1)\nfrom dataclasses")
    wait_until(lambda: len(standbys()) == 1, 5.0)
    os.kill(standbys()[0], signal.SIGKILL)
    wait_until(lambda: "counter.py changed: node" in develop.said(), _SOON_S)
    assert develop.add(1) == 6
    assert "can't" not in develop.said()


def test_code_that_ends_its_node_without_a_word_waits_for_a_change(
    develop: Develop, wait_until: Wait
) -> None:
    """After some tries; the code before goes on."""
    develop.edit("from dataclasses", "import os; os._exit(7)\nfrom dataclasses")
    wait_until(lambda: "can't be served: the code before goes on" in develop.said(), _SOON_S)
    assert develop.said().count("ended with exit code 7 and did not say why") == 3
    develop.edit("import os; os._exit(7)\n", "")
    wait_until(lambda: "counter.py changed: node" in develop.said(), _SOON_S)


def test_an_interrupt_ends_all_of_it(develop: Develop, wait_until: Wait) -> None:
    """The node drains, the servers end, the file that tells of them is gone."""
    develop.add(5)
    develop.remember_family()
    develop.process.send_signal(signal.SIGINT)
    wait_until(lambda: develop.process.poll() is not None, _SOON_S)
    assert develop.process.returncode == 0, develop.said()
    wait_until(lambda: not develop.living(), 8.0)
    assert not (develop.folder / ".spawn" / "dev.json").exists()


def test_a_killed_supervisor_is_told_by_its_own_code(develop: Develop, wait_until: Wait) -> None:
    """`spawn explain supervisor-lost` says what to do."""
    running = dev_file.read(develop.folder / ".spawn")
    assert running is not None
    develop.remember_family()
    os.kill(running.pids["supervisor"], signal.SIGKILL)
    wait_until(lambda: develop.process.poll() is not None, 20.0)
    assert "[supervisor-lost]" in develop.said()
    wait_until(lambda: not develop.living(), 10.0)


def test_nothing_outlives_a_killed_spawn_dev(develop: Develop, wait_until: Wait) -> None:
    """Node, waiting node and servers end with it, also when a node stands still."""
    develop.remember_family()
    os.kill(develop.node_pid, signal.SIGSTOP)
    develop.process.kill()
    wait_until(lambda: not develop.living(), 8.0)
