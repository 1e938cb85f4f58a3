"""Error pages: one for each code, and what `spawn explain` makes of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from spawn import error_pages
from spawn.api.problems import STATUSES
from spawn.cli.errors_reference import errors_page
from spawn.cli.explain import error_types, facts_of
from spawn.errors import Rejected
from tests.unit.cli.running import spawn

pytestmark = pytest.mark.timeout(10)

_OTHER_VARIABLES = {
    "SPAWN_URL",
    "SPAWN_HTTP_TOKEN",
    "SPAWN_HTTP_CA",
    "SPAWN_HTTP_ALLOWED_HOSTS",
    "SPAWN_HTTP_ALLOWED_ORIGINS",
}
ROOT = Path(__file__).parents[3]


def test_every_code_has_a_page_and_every_page_a_code() -> None:
    """A new error needs a page in spawn/error_pages; `rejected` stands for those of user code."""
    codes = {kind.code for kind in error_types() if kind is not Rejected} | {"rejected"}
    assert set(error_pages.codes()) == codes | set(STATUSES)


@pytest.mark.parametrize("code", error_pages.codes())
def test_a_page_has_meaning_cause_confirmation_and_remedy(code: str) -> None:
    """In that order, none of them empty, and short."""
    page = error_pages.page(code)
    assert page is not None
    assert re.findall(r"^#+ (.*)$", page, re.MULTILINE) == [
        code,
        "Cause",
        "How to confirm",
        "Remedy",
    ]
    parts = re.split(r"^#+ .*$", page, flags=re.MULTILINE)
    assert all(part.strip() for part in parts[1:])
    assert len(page) < 2_500
    assert error_pages.meaning(code)


@pytest.mark.parametrize("code", error_pages.codes())
def test_a_page_names_only_commands_and_settings_that_exist(code: str) -> None:
    """Whoever follows it must not meet another error."""
    from spawn.cli.commands import COMMANDS
    from spawn.config import SETTINGS

    page = error_pages.page(code) or ""
    for command in re.findall(r"`spawn ([a-z]+)", page):
        assert command in COMMANDS
    for variable in re.findall(r"`(SPAWN_\w+)`", page):
        assert variable in {setting.variable for setting in SETTINGS.values()} | _OTHER_VARIABLES
    for key in re.findall(r"`((?:http|node|kafka|postgres|actors|snapshots)\.\w+)`", page):
        assert key in SETTINGS
    for file in re.findall(r"`(docs/[\w/.-]+)`", page):
        assert (ROOT / file).is_file()


def test_the_index_is_current() -> None:
    """To write it again: `python -m spawn.cli.errors_reference > docs/reference/errors.md`."""
    page = ROOT / "docs" / "reference" / "errors.md"
    assert page.read_text(encoding="utf-8") == errors_page()


def test_a_page_is_shown_with_the_facts(capsys: pytest.CaptureFixture[str]) -> None:
    """Brackets, as errors have them, do no harm."""
    code, out, err = spawn(capsys, "explain", "[fenced]")
    assert (code, err) == (0, "")
    assert out.startswith("# fenced\n\nHTTP 503; the same call may succeed later; exit code 3.\n")
    assert "## Remedy" in out


def test_the_list_has_every_code(capsys: pytest.CaptureFixture[str]) -> None:
    """For people and for programs."""
    _, out, _ = spawn(capsys, "explain")
    assert [line.split()[0] for line in out.splitlines()] == error_pages.codes()
    _, out, _ = spawn(capsys, "explain", "--json")
    assert [json.loads(line)["code"] for line in out.splitlines()] == error_pages.codes()


def test_the_json_of_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    """Its members keep their names."""
    _, out, _ = spawn(capsys, "explain", "mailbox-full", "--json")
    value = json.loads(out)
    assert set(value) == {"code", "meaning", "http_status", "retryable", "exit_code", "page"}
    assert (value["http_status"], value["retryable"], value["exit_code"]) == (429, True, 1)


def test_facts_are_those_of_the_tables() -> None:
    """User code's refusals are 409 and never retried blindly."""
    assert facts_of("rejected") == (409, False, 1)
    assert facts_of("usage") == (None, False, 2)
    assert facts_of("unknown-type") == (404, False, 4)
