"""`spawn explain` where a person looks, and `python -m spawn`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from spawn.cli import console
from tests.unit.cli.running import spawn

ROOT = Path(__file__).parents[3]


def test_a_page_is_laid_out_for_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No marks of Markdown are left; in a pipe it stays as it is written."""
    monkeypatch.setattr(console, "colours_data", lambda: True)
    code, out, _ = spawn(capsys, "explain", "fenced")
    assert code == 0
    assert "Remedy" in out
    assert "##" not in out


@pytest.mark.timeout(20)
def test_the_package_is_the_command() -> None:
    """For whoever has no script on the path."""
    done = subprocess.run(
        [sys.executable, "-m", "spawn", "--version"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert done.stdout.startswith("spawn ")
