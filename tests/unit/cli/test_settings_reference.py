"""The page of all settings, made from their docstrings."""

from __future__ import annotations

import re
from pathlib import Path

from spawn.cli.settings_reference import explanations, first_sentence, settings_page
from spawn.config import SETTINGS, load_settings

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "settings.md"


def test_the_page_is_current() -> None:
    """To write it again: `python -m spawn.cli.settings_reference > docs/reference/settings.md`."""
    assert PAGE.read_text(encoding="utf-8") == settings_page()


def test_every_setting_is_explained() -> None:
    """A docstring below each field."""
    texts = explanations()
    assert [key for key in SETTINGS if len(texts[key]) < 15] == []


def test_the_first_sentence_goes_to_the_help_page() -> None:
    """Up to a full stop that ends a sentence."""
    assert first_sentence("Port, e.g.2 or\n  3. More.") == "Port, e.g.2 or 3"


def test_the_example_of_the_page_is_a_file_that_loads(tmp_path: Path) -> None:
    """Its keys are settings."""
    found = re.search(r"```toml\n(.*?)```", settings_page(), re.DOTALL)
    assert found is not None
    file = tmp_path / "spawn.toml"
    file.write_text(found[1])
    settings = load_settings(config=file, environ={})
    assert (settings.system, settings.http.port) == ("shop", 9001)
