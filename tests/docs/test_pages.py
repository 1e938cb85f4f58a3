"""Every code block of README.md and docs/ is run, and every page is met here.

A page that can't run a block says why: `<!-- not run: reason -->` before it; it is parsed still.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml

from spawn.config import load_settings
from tests.docs.conftest import JOURNEYS
from tests.docs.pages import ROOT, Block, all_pages
from tests.docs.terminal import Dev, Terminal, commands_of, difference

_CONSOLE_ELSEWHERE = {
    # Answers of a scripted node, which can show what a real one only does in trouble.
    "docs/reference/http.md": "tests/integration/api/test_http_page.py",
}
_LANGUAGES = {"python", "console", "toml", "yaml", "json", "text", "promql"}


@pytest.mark.timeout(90)
@pytest.mark.parametrize("journey", JOURNEYS)
def test_a_page_does_what_it_shows(
    journey: str,
    tmp_path: Path,
    shared_dev: Callable[[], Dev],
    python_failures: Mapping[str, str],
) -> None:
    """Its blocks in order: files are written, commands are typed, the Python is run."""
    assert journey not in python_failures, python_failures[journey]
    terminal = Terminal(tmp_path / "home", shared_dev)
    try:
        for page in JOURNEYS[journey]:
            for block in page.blocks:
                _run(block, terminal)
    finally:
        terminal.close()
    assert not terminal.problems, "\n".join(terminal.problems)


_PARSERS: Mapping[str, Callable[[str], object]] = {
    "toml": tomllib.loads,
    "yaml": yaml.safe_load,
    "json": lambda text: _parse_json(text),  # noqa: PLW0108 - it stands below
}


def _run(block: Block, terminal: Terminal) -> None:
    assert block.language in _LANGUAGES, f"{block.place}: a block in {block.language or 'nothing'}"
    if (parse := _PARSERS.get(block.language)) is not None:
        parse(block.text)
    if block.not_run or block.page in _CONSOLE_ELSEWHERE:
        return
    if block.language == "console":
        terminal.type(block)
    elif block.file and block.language != "text":
        terminal.write(block.file, block.text)
        if block.file == "spawn.toml":
            load_settings(config=terminal.working_folder / block.file, environ={})


def _parse_json(text: str) -> None:
    """Parse a JSON text, or one on each line."""
    try:
        json.loads(text)
    except json.JSONDecodeError:
        for line in text.splitlines():
            json.loads(line)


def test_what_others_run_is_run_by_them() -> None:
    """A page whose commands are run elsewhere is named there."""
    for page, test in _CONSOLE_ELSEWHERE.items():
        assert Path(page).name in (ROOT / test).read_text(encoding="utf-8")


def test_what_is_not_run_says_why() -> None:
    """The reason is a few words at least, and most blocks are run."""
    blocks = [block for page in all_pages() for block in page.blocks]
    excused = [block for block in blocks if block.not_run]
    assert all(len(block.not_run.split()) >= 3 for block in excused)
    assert len(excused) < len(blocks) / 4


def test_the_make_targets_that_pages_name_are_there() -> None:
    """`make demo` on a page is a target of the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([.\w-]+):", makefile, re.MULTILINE))
    named = {
        (page.name, target)
        for page in all_pages()
        for target in re.findall(
            r"(?:`|^    |^\$ )make ([.\w-]+)",
            (ROOT / page.name).read_text(encoding="utf-8"),
            re.MULTILINE,
        )
    }
    assert {name for _, name in named} <= targets, named


def test_the_runner_sees_a_wrong_output() -> None:
    """What differs from run to run may; a word too many, too few or another one may not."""
    shown = "  1  10:02:11  add  http 127.0.0.1  Added(n=5)\n"
    assert not difference(shown, "  1   23:59:00  add  http 127.0.0.1  Added(n=5)\n")
    assert difference(shown, "  1  23:59:00  add  http 127.0.0.1  Added(n=6)\n")
    assert difference(shown, shown + "  2  10:02:12  add  http 127.0.0.1  Added(n=5)\n")
    assert not difference("a ... z\n...\nend\n", "a b z\nmore\nend\n")
    assert difference("a\n", "")


def test_a_command_goes_on_behind_a_backslash() -> None:
    """Its output begins after its last line."""
    assert list(commands_of("$ a \\\n  b\nout\n$ c\n")) == [("a \\\n  b", "out\n"), ("c", "")]
