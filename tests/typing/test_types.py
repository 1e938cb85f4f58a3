"""Typed calls: what mypy says of right and of wrong ones, without a plugin."""

from pathlib import Path

import pytest
from mypy import api

_FOLDER = Path(__file__).parent
_ROOT = _FOLDER.parent.parent


@pytest.mark.timeout(120)
def test_right_calls_have_the_types_of_the_methods_and_wrong_ones_are_refused() -> None:
    """Each marked line has its error and no other line has one; nothing needs a plugin."""
    names = ("right_calls.py", "wrong_calls.py", "right_kits.py", "wrong_kits.py")
    files = [str(_FOLDER / name) for name in names]
    settings = ["--config-file", str(_ROOT / "pyproject.toml"), "--strict"]
    report, errors, status = api.run([*settings, *files])
    assert (report.splitlines()[-1:], errors, status) == (
        ["Success: no issues found in 4 source files"], "", 0
    ), report  # fmt: skip


@pytest.mark.timeout(120)
def test_the_refusals_say_what_is_wrong() -> None:
    """Read as an editor shows them: the marks taken away, the messages are there."""
    report = _errors_without_marks("wrong_calls.py")
    for text in (
        'Argument 1 to "__call__" of "Call" has incompatible type "str"; expected "int"',
        'Incompatible types in assignment (expression has type "int", variable has type "str")',
        '"Counter" has no attribute "ad"; maybe "add"?',
        'Value of type "Coroutine[None, None, int]" must be used',
        'Argument 1 to "emit" of "Actor" has incompatible type "Undeclared"; expected "Added | Re',
        'Argument 1 to "assert_never" has incompatible type "Reset"; expected "Never"',
    ):
        assert text in report


@pytest.mark.timeout(120)
def test_a_kit_is_typed_like_the_actor() -> None:
    """Arguments, events, states and replies of a test are those of the class."""
    report = _errors_without_marks("wrong_kits.py")
    for text in (
        '"when" of "Kit" has incompatible type "str"; expected "int"',
        'Argument 1 to "given" of "Kit" has incompatible type "Total"; expected "Added | Reset"',
        'Argument 1 to "given_state" of "Kit" has incompatible type "Added"; expected "Total"',
        'Argument 1 to "given" of "Kit" has incompatible type "Added"; expected "Never"',
        'Incompatible types in assignment (expression has type "int", variable has type "str")',
    ):
        assert text in report


def _errors_without_marks(name: str) -> str:
    """Return what mypy says of a file whose marked lines alone are wrong."""
    wrong = (_FOLDER / name).read_text(encoding="utf-8")
    marked = [n for n, line in enumerate(wrong.splitlines(), 1) if "# type: ignore[" in line]
    settings = ["--config-file", str(_ROOT / "pyproject.toml"), "--strict"]
    report, _, _ = api.run([*settings, "-c", wrong.replace("# type: ignore[", "# was: ")])
    found = {int(line.split(":")[1]) for line in report.splitlines() if ": error: " in line}
    assert sorted(found) == marked, report
    return report
