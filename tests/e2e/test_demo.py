"""`make demo` on the first rows: the year's run in small, with its kill and its check."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = 5_000


def start_demo(folder: Path, *options: str) -> subprocess.Popen[str]:
    """Start the demo with servers, logs and picture in a folder of the test's."""
    return subprocess.Popen(
        [sys.executable, "-m", "examples.flights", "--folder", str(folder), *options],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "KEEP"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


WRONG_EXPECTATION = """
import sys
from examples.flights import demo
from examples.flights.__main__ import main

right = demo.expected_totals
demo.expected_totals = lambda rows: right(rows) | {
    "N14228": right(rows)["N14228"] | {"distance_miles": 1}, "N0": right(rows)["N14228"]
}
sys.exit(main())
"""
"""The demo with a plain computation that errs in two places."""


def processes_of(folder: Path) -> list[str]:
    """Command lines of processes that name the folder or whose output goes there."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            files = [str(file.readlink()) for file in (process / "fd").iterdir()]
        except OSError:
            continue
        if str(folder) in command or any(file.startswith(str(folder)) for file in files):
            found.append(command)
    return found


def assert_nothing_is_left(folder: Path, within_s: float) -> None:
    """Wait for the last process of a demo to go."""
    deadline = time.monotonic() + within_s
    while (left := processes_of(folder)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def wait_for_line(demo: subprocess.Popen[str], part: str) -> None:
    """Read the demo's output up to a line that has this in it."""
    assert demo.stdout is not None
    seen = []
    for line in demo.stdout:
        if part in line:
            return
        seen.append(line)
    pytest.fail(f"no line with {part!r} in:\n{''.join(seen)}")


def test_the_demo_kills_its_node_and_finds_every_aircraft_right(tmp_path: Path) -> None:
    """It exits with 0, says what it did, and leaves a picture and no process."""
    demo = start_demo(tmp_path / "demo", "--rows", str(ROWS))
    output, _ = demo.communicate(timeout=120)
    assert demo.returncode == 0, output
    assert f"{ROWS:,} rows: 4,993 flights of 1,876 aircraft, 7 without a tail number" in output
    assert "killed with SIGKILL after" in output
    assert "the next answer came" in output
    assert f"4,993 flights in the actors + 7 rows without a tail number = {ROWS:,}" in output
    assert "Every aircraft is right" in output
    assert "$ spawn state Aircraft/N725MQ" in output
    assert "$ spawn events Aircraft/N725MQ" in output
    assert "Flown(number=MQ4521" in output
    assert (tmp_path / "demo" / "flights.png").stat().st_size > 20_000
    assert_nothing_is_left(tmp_path / "demo", within_s=5.0)


def test_an_aircraft_that_differs_is_named_and_ends_in_exit_code_1(tmp_path: Path) -> None:
    """Each difference is a line of its own; the rest of the output is there all the same."""
    options = ["--folder", str(tmp_path / "demo"), "--rows", "300"]
    demo = subprocess.run(
        [sys.executable, "-c", WRONG_EXPECTATION, *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert demo.returncode == 1, demo.stdout + demo.stderr
    assert "N14228: distance_miles is 1400, expected 1\n" in demo.stdout
    assert "N0: flights is 0, expected 1\n" in demo.stdout
    assert "Some aircraft differ, see above" in demo.stdout
    assert "Every aircraft is right" not in demo.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_demo_that_is_ended_takes_its_servers_with_it(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Ctrl-C, a polite end and a rude one: no orphan is left."""
    demo = start_demo(tmp_path / "demo", "--rows", "60000")
    wait_for_line(demo, "without a tail number")
    demo.send_signal(number)
    output, _ = demo.communicate(timeout=120)
    assert demo.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130), output
    assert "Traceback" not in output
    assert_nothing_is_left(tmp_path / "demo", within_s=10.0)


def test_keep_leaves_everything_up_and_the_next_run_starts_anew(tmp_path: Path) -> None:
    """Until Ctrl-C, which is a good end. The log is gone then: old snapshots are not mixed in."""
    demo = start_demo(tmp_path / "demo", "--rows", "300", "--keep")
    wait_for_line(demo, "Everything stays up until Ctrl-C")
    assert processes_of(tmp_path / "demo")
    demo.send_signal(signal.SIGINT)
    output, _ = demo.communicate(timeout=120)
    assert demo.returncode == 0, output
    assert_nothing_is_left(tmp_path / "demo", within_s=5.0)

    again = start_demo(tmp_path / "demo", "--rows", "300")
    output, _ = again.communicate(timeout=120)
    assert again.returncode == 0, output
    assert "Every aircraft is right" in output
