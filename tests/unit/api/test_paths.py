"""Request targets: whatever a client encodes comes back as it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawn.api.paths import Match, check_method, match_target
from spawn.client.paths import actor_path
from spawn.errors import InvalidId, MethodNotAllowed, UnknownPath


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_every_id_comes_back_as_it_was(actor_id: str) -> None:
    """What CLI and client encode the server decodes."""
    path = actor_path("Counter", actor_id, "add")
    assert match_target(path) == Match("invoke", "Counter", actor_id, "add")
    path = actor_path("Counter", actor_id)
    assert match_target(path) == Match("state", "Counter", actor_id)


@given(st.text(max_size=60).map(lambda text: "/v1/actors/" + text))
def test_no_target_breaks_the_matching(target: str) -> None:
    """A route or one of our errors."""
    try:
        match_target(target)
    except (InvalidId, UnknownPath):
        pass


@pytest.mark.parametrize(
    ("target", "match"),
    [
        ("/health/live", Match("live")),
        ("/health/ready?verbose", Match("ready")),
        ("/metrics", Match("metrics")),
        ("/v1/actors/%43ounter/a/%61dd", Match("invoke", "Counter", "a", "add")),
        ("/v1/actors/C//add", Match("invoke", "C", "", "add")),
        ("/v1/actors/C/", Match("state", "C", "")),
        ("https://h:1/v1/actors/C/a", Match("state", "C", "a")),
    ],
)
def test_targets_lead_to_routes(target: str, match: Match) -> None:
    """Also in forms that are rare."""
    assert match_target(target) == match


@pytest.mark.parametrize("target", ["*", "h:1", "http://h", "", "/health", "/health/live/", "//"])
def test_other_targets_lead_nowhere(target: str) -> None:
    """And say what there is."""
    with pytest.raises(UnknownPath):
        match_target(target)


def test_bytes_that_are_no_utf_8_are_refused() -> None:
    """A lenient parser hands them on as surrogates."""
    with pytest.raises(InvalidId, match="not UTF-8"):
        match_target("/v1/actors/Counter/\udcff/add")


def test_methods_belong_to_routes() -> None:
    """POST calls, GET reads."""
    check_method("invoke", "POST")
    check_method("state", "HEAD")
    wrong = "POST is not answered here, GET, HEAD and DELETE are"
    with pytest.raises(MethodNotAllowed, match=wrong):
        check_method("state", "POST")
    with pytest.raises(MethodNotAllowed, match="GET is not answered here, POST is"):
        check_method("invoke", "GET")


@pytest.mark.parametrize(
    ("method", "path", "match"),
    [
        ("POST", "/v1/actors/C/a/events", Match("invoke", "C", "a", "events")),
        ("GET", "/v1/actors/C/a/events?follow", Match("events", "C", "a", "events")),
        ("PUT", "/v1/actors/C/a/events", Match("events", "C", "a", "events")),
        ("DELETE", "/v1/actors/C/a", Match("delete", "C", "a")),
        ("GET", "/v1/actors/C/a", Match("state", "C", "a")),
        ("GET", "/errors/fenced", Match("error", action="fenced")),
        ("GET", "/docs", Match("docs")),
    ],
)
def test_one_path_may_be_several_routes(method: str, path: str, match: Match) -> None:
    """The method decides."""
    assert match_target(path, method) == match
