"""The simulation itself: it can be repeated, it passes, and it can fail. More seeds: `make sim`."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulation.plants import PLANTS
from tests.simulation.world import run_seed

_QUICKLY_FOUND = (
    "fence: a claim counts whatever it is based on",
    "replies: a refusal leaves no record",
    "snapshots: a flush only has to go forward",
    "sessions: a done number is run again",
)


@pytest.mark.parametrize("seed", range(1, 13))
def test_a_seed_keeps_all_promises(seed: int) -> None:
    """A dozen here, so that a mistake shows before `make sim`."""
    report = run_seed(seed)
    assert not report.wrong, report.wrong[0]
    assert report.operations > (140 if report.unowned_s is None else 50)
    assert report.told > report.operations * (0.9 if not report.losses else 0.5)


@pytest.mark.parametrize("seed", ["4", "5"])
def test_a_seed_is_the_same_in_every_process(seed: str) -> None:
    """The digest of all that happened does not depend on hashes or addresses."""
    digests = set()
    for hash_seed in ("0", "1234"):
        done = subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--seed", seed],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        digests.add(done.stdout.rsplit("trace ", 1)[1].split(",")[0])
    assert len(digests) == 1


def test_planted_bugs_are_found() -> None:
    """Some that one seed or a few show; all of them: `make sim-mutants`."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation.mutants", "--seeds", "20", *_QUICKLY_FOUND],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert f"{len(_QUICKLY_FOUND)} of {len(_QUICKLY_FOUND)} found" in done.stdout


def test_there_are_enough_of_them() -> None:
    """As many as the issue of the cluster asks for."""
    assert len(PLANTS) >= 25
