"""Problem bodies, and that no error of the tree was forgotten in table and page."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from spawn import errors
from spawn.api.problems import STATUSES, problem_of
from spawn.api.suggestions import action_hint, type_hint
from spawn.core.behavior import ActionInfo
from spawn.errors import BodyMismatch, InvalidHeader, Rejected, SpawnError, StartRefused

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "http.md").read_text(encoding="utf-8")


def told_by_nodes() -> list[type[SpawnError]]:
    """Return every error that a node can tell over HTTP."""
    kinds = [getattr(errors, name) for name in errors.__all__]
    others = (
        StartRefused
        | Rejected
        | errors.NodeUnreachable
        | errors.NodeUntrusted
        | errors.ReplayDiffers
        | errors.NotConfirmed
        | errors.RepairRefused
        | errors.UnknownPosition
        | errors.LoopStuck
    )
    return [kind for kind in kinds if not issubclass(kind, others)]


@pytest.mark.parametrize("kind", told_by_nodes())
def test_every_error_has_a_status(kind: type[SpawnError]) -> None:
    """One that may succeed later is 429 or 503, one of the caller's is 4xx."""
    status = STATUSES[kind.code].status
    assert kind.retryable == (status in (429, 503))
    assert issubclass(kind, errors.CallError) == (status < 500 and status not in (410, 429))


def test_the_page_has_every_code_with_its_status() -> None:
    """And no other."""
    rows = set(re.findall(r"^\| (\d{3}) \| `([a-z-]+)` \|", PAGE, re.MULTILINE))
    table = {(str(kind.status), code) for code, kind in STATUSES.items() if code != "rejected"}
    assert rows == table
    assert "| 409 | the actor's own, with `rejected` |" in PAGE


def test_a_problem_is_one_flat_object() -> None:
    """What is not there has no member."""
    error = SpawnError("it broke", hint="mend it")
    assert msgspec.json.decode(msgspec.json.encode(problem_of(error, "GET /x"))) == {
        "type": "/errors/internal",
        "title": "Internal error",
        "status": 500,
        "detail": "it broke",
        "code": "internal",
        "retryable": False,
        "at": "GET /x",
        "hint": "mend it",
    }


def test_the_place_is_as_exact_as_is_known() -> None:
    """A header or the body of the request, or a line of somebody's code."""
    assert problem_of(BodyMismatch("x"), "POST /x").at == "POST /x, body"
    assert problem_of(InvalidHeader("x", at="header X"), "POST /x").at == "POST /x, header X"
    assert problem_of(BodyMismatch("x", at="counter.py:3"), "POST /x").at == "counter.py:3"


def test_a_user_code_changes_neither_status_nor_type() -> None:
    """Even one that looks like ours."""
    problem = problem_of(Rejected("unknown-type", "no"), "POST /x")
    assert (problem.status, problem.type, problem.code) == (409, "/errors/rejected", "unknown-type")
    assert problem.rejected


def test_a_hint_names_the_nearest_name_and_what_there_is() -> None:
    """Whatever the case; a long list is cut."""
    actions = [ActionInfo(f"do{n}", False, False, f"do{n}()") for n in range(20)]
    assert action_hint("DO3", actions).startswith("did you mean `do3`? Actions: do0(), do1(), ")
    assert action_hint("DO3", actions).endswith(" and 8 more")
    assert action_hint("x", []) == "this type has no actions"
    assert type_hint("x", {}) == "this node has no actor types"
    assert type_hint("wholly-other", {"Counter": ()}) == "Types: Counter"
