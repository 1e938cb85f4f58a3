"""Running one command in this process."""

from __future__ import annotations

import pytest

from spawn.cli.main import run_command

__all__ = ["spawn"]


def spawn(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run a command; return exit code, stdout and stderr."""
    code = run_command(arguments)
    out, err = capsys.readouterr()
    return code, out, err
