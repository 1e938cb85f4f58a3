"""The page of all commands, made from their help pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from spawn.cli.cli_reference import cli_page

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "cli.md"


@pytest.mark.timeout(10)
def test_the_page_is_current() -> None:
    """To write it again: `python -m spawn.cli.cli_reference > docs/reference/cli.md`."""
    assert PAGE.read_text(encoding="utf-8") == cli_page()
