"""Calls of actors over HTTP: paths, bodies and headers in, replies and headers out."""

from __future__ import annotations

import pytest

from tests.integration.api.wire import Served

ADD = "/v1/actors/Counter/a/add"
IDS = {
    "a%2Fb": "a/b",
    "%2F": "/",
    "%25": "%",
    "100%25%20sure": "100% sure",
    "a+b": "a+b",
    "gr%C3%BC%C3%9Fe%20%E2%9C%88": "grüße ✈",
    "%00": "\0",
    ".": ".",
    "..": "..",
    "%2E%2E": "..",
    "a%3Fb%23c": "a?b#c",
    "a;b,c@d:e": "a;b,c@d:e",
    "%0D%0AX-Evil:%201": "\r\nX-Evil: 1",
}


async def test_an_action_answers_its_reply_with_revision_and_position(served: Served) -> None:
    """The body goes on as it came; reply, revision and position come back."""
    reply = await served.wire.ask("POST", ADD, b"5")
    assert (reply.status, reply.body) == (200, b"5\n")
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["spawn-revision"] == "1"
    assert reply.headers["spawn-position"] == "spawn.shop.Counter/3@101"
    [call] = served.ingress.calls
    assert (call.type, call.id, call.action, call.payload) == ("Counter", "a", "add", b"5")
    assert (call.key, call.timeout_s, call.caller) == (None, 60.0, "http 127.0.0.1")


async def test_a_read_at_revision_0_has_no_position(served: Served) -> None:
    """An actor that was never written has no record that a position could name."""
    reply = await served.wire.ask("POST", "/v1/actors/Counter/new/total")
    assert (reply.status, reply.body, reply.headers["spawn-revision"]) == (200, b"0\n", "0")
    assert "spawn-position" not in reply.headers
    assert served.ingress.calls[0].payload == b""


@pytest.mark.parametrize(("encoded", "actor_id"), IDS.items())
async def test_an_id_may_hold_any_character(served: Served, encoded: str, actor_id: str) -> None:
    """The path is split before it is decoded, once, and dots are no navigation."""
    reply = await served.wire.ask("POST", f"/v1/actors/Counter/{encoded}/add", b"2")
    assert reply.status == 200
    assert served.ingress.calls[0].id == actor_id
    state = await served.wire.ask("GET", f"/v1/actors/Counter/{encoded}")
    assert state.json() == {
        "type": "Counter",
        "id": actor_id,
        "revision": 1,
        "state": {"total": 2},
    }


async def test_the_absolute_form_leads_to_the_same_actor(served: Served) -> None:
    """What proxies do to a request line changes no id."""
    await served.wire.ask("POST", f"{ADD}?", b"1")
    await served.wire.ask("POST", f"http://localhost{ADD}", b"1")
    assert [call.id for call in served.ingress.calls] == ["a", "a"]


async def test_the_state_answers_type_id_revision_and_state(served: Served) -> None:
    """GET reads an actor; its position stands in the header."""
    await served.wire.ask("POST", ADD, b"7")
    reply = await served.wire.ask("GET", "/v1/actors/Counter/a", headers={"Spawn-Timeout": "1500"})
    assert reply.body == b'{"type":"Counter","id":"a","revision":1,"state":{"total":7}}\n'
    assert reply.headers["spawn-position"] == "spawn.shop.Counter/3@101"
    assert reply.headers["spawn-revision"] == "1"
    assert served.ingress.state_timeouts_s == [1.5]


async def test_head_answers_the_headers_of_get(served: Served) -> None:
    """HEAD has no body, and the connection is in step afterwards."""
    reply = await served.wire.ask("HEAD", "/v1/actors/Counter/a")
    assert (reply.status, reply.headers["spawn-revision"]) == (200, "0")
    assert (await served.wire.ask("POST", ADD, b"1")).body == b"1\n"


async def test_the_content_type_is_not_looked_at(served: Served) -> None:
    """`curl -d 5` says that it sends a form."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await served.wire.ask("POST", ADD, b"5", headers)).body == b"5\n"


async def test_key_and_timeout_reach_the_node(served: Served) -> None:
    """Milliseconds become seconds, the key stays what it is."""
    headers = {"idempotency-key": '"order-7"', "spawn-timeout": "2500"}
    await served.wire.ask("POST", ADD, b"5", headers)
    [call] = served.ingress.calls
    assert (call.key, call.timeout_s) == ('"order-7"', 2.5)


async def test_bodies_that_come_in_pieces_arrive_whole(served: Served) -> None:
    """Chunked bodies, and bodies that come later than the headers."""
    wire = served.wire
    wire.send(
        b"POST /v1/actors/Echo/e/echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    await served.wire.writer.drain()
    wire.send(b"3\r\n[1,\r\n")
    await served.wire.writer.drain()
    wire.send(b"2\r\n2]\r\n0\r\n\r\n")
    assert (await wire.reply()).body == b"[1,2]\n"


async def test_any_bytes_go_through_unchanged(served: Served) -> None:
    """The server does not parse bodies."""
    body = bytes(range(256)) * 2000
    assert (await served.wire.ask("POST", "/v1/actors/Echo/e/echo", body)).body == body + b"\n"


async def test_an_earlier_state_is_asked_for_by_its_revision(served: Served) -> None:
    """Headers are of that revision; what there is not yet, and what is no number, is told."""
    for _ in range(3):
        await served.wire.ask("POST", "/v1/actors/Counter/a/add", b"1")
    path = "/v1/actors/Counter/a?revision="
    reply = await served.wire.ask("GET", f"{path}2")
    assert (reply.json()["revision"], reply.json()["state"]) == (2, {"total": 2})
    assert reply.headers["spawn-revision"] == "2"
    missing = await served.wire.ask("GET", f"{path}4")
    assert (missing.status, missing.json()["code"]) == (404, "unknown-revision")
    for wrong in ("x", "-1", "", "1&revision=1", "9223372036854775808"):
        reply = await served.wire.ask("GET", f"{path}{wrong}")
        assert (reply.status, reply.json()["code"]) == (400, "invalid-query")
