"""Problem bodies become the exceptions that they were, for client and CLI alike."""

from __future__ import annotations

import json

import pytest

from spawn.cli.node_client import NodeAddress, _told
from spawn.client.problems import error_of_problem
from spawn.errors import Draining, NodeUnreachable, Rejected, SpawnError, Unavailable

NODE = NodeAddress("http://127.0.0.1:9001", "--url (flag)")


def body(code: str, **more: object) -> bytes:
    return json.dumps(
        {"code": code, "detail": "why", "at": "there", "hint": "mend", **more}
    ).encode()


@pytest.mark.parametrize(
    ("told", "kind", "retryable"),
    [
        (body("draining", retryable=True), Draining, True),
        (body("invented-later", retryable=True), Unavailable, True),
        (body("invented-later", retryable=False), SpawnError, False),
        (body("too-poor", rejected=True), Rejected, False),
    ],
)
def test_an_error_keeps_its_code_and_whether_it_may_be_repeated(
    told: bytes, kind: type[SpawnError], *, retryable: bool
) -> None:
    """Also one that this version does not know."""
    for error in (error_of_problem(503, told), _told(503, told, NODE)):
        assert type(error) is kind
        assert error.code == json.loads(told)["code"]
        assert error.retryable is retryable
        assert (error.message, error.at, error.hint) == ("why", "there", "mend")


@pytest.mark.parametrize("answer", [b"<html>", b"{}", b"\xff", b"[]"])
def test_what_is_no_problem_is_no_nodes(answer: bytes) -> None:
    """The CLI names the address that was asked."""
    assert isinstance(error_of_problem(502, answer), NodeUnreachable)
    told = _told(502, answer, NODE)
    assert isinstance(told, NodeUnreachable)
    assert told.at == NODE.source
