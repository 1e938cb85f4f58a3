"""docs/symptoms.md and docs/reference/limits.md say what the code says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

from spawn import error_pages
from spawn.api import HttpLimits
from spawn.api.batch import CALLS_MAX
from spawn.api.commits import LIMIT_MAX, STREAMS_MAX
from spawn.api.heads import HEAD_BYTES_MAX
from spawn.config import SETTINGS
from spawn.core.behavior import TypeSettings
from spawn.core.ids import ID_BYTES_MAX
from spawn.core.keys import KEYS_MAX
from spawn.core.partition import Limits
from spawn.core.residents import HISTORY_MAX
from spawn.mesh.wire import FOLLOW_BYTES_MAX
from spawn.routing.telling import TOLD_MAX
from spawn.runtime.activation import HOOK_S
from spawn.runtime.commits import LIST_BYTES_MAX
from spawn.runtime.context import RuntimeSettings
from spawn.runtime.following import QUEUE_BYTES_MAX, QUEUE_MAX
from tests.docs.pages import ROOT

_PAGE = (ROOT / "docs" / "symptoms.md").read_text(encoding="utf-8")


@cache
def _code() -> str:
    """Return every string of the code, f-strings in their constant pieces, docstrings left out."""
    return "\n".join(_texts())


def _texts() -> Iterator[str]:
    for package in ("spawn", "eventstore", "schemas"):
        for file in (ROOT / package).rglob("*.py"):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            prose = {
                id(node.value)
                for node in ast.walk(tree)
                if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            }
            for node in ast.walk(tree):
                if isinstance(node, ast.Constant) and id(node) not in prose:
                    yield str(node.value)


def test_every_message_is_in_the_code() -> None:
    """The first column's literal texts, `...` for what is filled in; metrics by their names."""
    code = _code()
    rows = re.findall(r"(?m)^\| (.*?) \|", _PAGE)
    literals = [literal for row in rows for literal in re.findall(r"`([^`]+)`", row)]
    assert len(literals) > 25
    missing = []
    for literal in literals:
        if re.fullmatch(r"spawn_\w+", literal):
            name = re.sub(r"_(total|bucket|sum|count)$", "", literal)
            missing += [] if name in code else [literal]
        elif literal in error_pages.codes():
            continue
        else:
            pieces = [piece.strip() for piece in literal.split("...") if piece.strip(" :,")]
            missing += [literal] if any(piece not in code for piece in pieces) else []
    assert not missing, "\n".join(missing)


def test_every_metric_that_the_page_names_is_there() -> None:
    """Also those in the columns behind the first."""
    code = _code()
    named = set(re.findall(r"`(spawn_\w+)`", _PAGE))
    assert {name for name in named if re.sub(r"_total$", "", name) not in code} == set()


def _mib(size: int) -> str:
    return f"{size // 1024**2} MiB"


def test_the_limits_are_those_of_the_code() -> None:
    """Each row of docs/reference/limits.md that has a number in the code."""
    page = (ROOT / "docs" / "reference" / "limits.md").read_text(encoding="utf-8")
    rows = {cells[0]: cells[1] for cells in _cells(page)}
    limits, runtime, actor = Limits(), RuntimeSettings(), TypeSettings()
    defaults = {key: setting.default for key, setting in SETTINGS.items()}
    assert f"{ID_BYTES_MAX} bytes" in rows["id of an actor"]
    assert f"{KEYS_MAX:,}" in rows["keys that an actor remembers"]
    assert rows["request body"] == _mib(defaults["http.body_limit"])
    assert _mib(runtime.state_bytes_max) in rows["a state"]
    assert rows["one commit: body, events, state, reply"] == _mib(limits.commit_bytes_max)
    append = rows["an append: records with their keys and prefixes"]
    assert _mib(limits.batch_bytes_max) in append
    assert f"{limits.batch_records_max:,} records" in append
    changed = rows["changed actors of a partition that no flush has written"]
    assert changed == f"{limits.dirty_max:,}"
    past = rows["states of a partition kept for time travel until a flush"]
    assert past == f"{HISTORY_MAX:,}"
    assert rows["`on_activate`"] == f"{HOOK_S:g} s"
    assert f"{limits.uncommitted_max:,}" == rows["uncommitted commands of a partition"]
    remembered = rows["numbered requests that a partition remembers, for 15 min"]
    assert f"{limits.sessions_max:,} sessions" in remembered
    assert f"{limits.session_numbers_max:,} numbers" in remembered
    waiting = rows["commands of one actor, waiting or uncommitted"]
    assert waiting == f"{actor.mailbox_size_max:,}"
    assert rows["followers that other nodes have on a node"] == f"{TOLD_MAX:,}"
    assert f"{FOLLOW_BYTES_MAX // 1024} KiB" in rows["commits on their way to one of them"]
    assert rows["calls that a node holds"] == f"{defaults['node.calls_max']:,}"
    assert f"default {defaults['kafka.partitions']}" in rows["partitions of a type"]
    assert f"{defaults['http.timeout']:g} s" in rows["how long a call waits"]
    assert f"{defaults['http.timeout_max']:g} s" in rows["how long a call waits"]
    head = rows["head of a request: request line, each header field"]
    assert head == f"{HEAD_BYTES_MAX:,} bytes"
    assert rows["calls of a batch"] == f"{CALLS_MAX:,}"
    listed = f"{LIMIT_MAX:,} asked for, {_mib(LIST_BYTES_MAX)} together"
    assert rows["commits in a list of events"] == listed
    assert rows["streams of events (`?follow`) of a node"] == f"{STREAMS_MAX:,}"
    waiting = f"{QUEUE_MAX:,}, {_mib(QUEUE_BYTES_MAX)} together"
    assert rows["commits that wait for one who follows"] == waiting
    http = HttpLimits()
    assert rows["connections of a node"] == f"{http.connections_max:,}"
    assert http.connections_max == defaults["http.connections_max"]
    assert rows["a connection without a request"] == f"{http.keep_alive_s:g} s"
    assert http.keep_alive_s == defaults["http.keep_alive"]
    head_time = rows["until the head of a request is whole"]
    assert head_time == f"{http.head_s:g} s from its first byte"
    rate = f"{http.body_s:g} s, or its size at {http.body_bytes_per_s // 1024} KiB/s"
    assert rate in rows["until the body of a request is whole"]
    assert rows["a client that takes nothing of its answers"] == f"{http.stalled_s:g} s"


def _cells(page: str) -> Iterator[list[str]]:
    for row in re.findall(r"(?m)^\| (.*) \|$", page)[1:]:
        yield row.split(" | ")
