"""An actor's events over HTTP: a list, and a stream."""

from __future__ import annotations

import json
from typing import Any

import pytest

from spawn.api import commits
from spawn.core.ids import Position
from spawn.core.ingress import ActorCommit, CommitsAsked
from spawn.errors import TooSlow
from tests.integration.api.fake_ingress import TIME_US, FakeFollower
from tests.integration.api.wire import Served, Wire, serving

EVENTS = "/v1/actors/Counter/a/events"


def commit(revision: int, **more: Any) -> ActorCommit:
    place = Position("spawn.shop.Counter", 3, 100 + revision)
    fields = {"events": [("Added", b'{"n":5}')], **more}
    return ActorCommit(revision, TIME_US, place, "add", "me", **fields)


async def test_the_events_of_an_actor_are_listed(served: Served) -> None:
    """Newest first unless told otherwise."""
    for _ in range(3):
        await served.wire.ask("POST", "/v1/actors/Counter/a/add", b"5")
    reply = await served.wire.ask("GET", EVENTS)
    assert (reply.status, reply.headers["spawn-time"]) == (200, str(TIME_US))
    assert [each["revision"] for each in reply.json()] == [3, 2, 1]
    assert reply.json()[0] == {
        "revision": 3,
        "time": "2026-11-24T22:22:11Z",
        "position": "spawn.shop.Counter/3@103",
        "action": "add",
        "caller": "http 127.0.0.1",
        "events": [{"name": "Added", "fields": {"n": 5}}],
    }
    query = "?limit=2&order=oldest&from_revision=2"
    assert [each["revision"] for each in (await served.wire.ask("GET", EVENTS + query)).json()] == [
        2, 3,
    ]  # fmt: skip
    assert served.ingress.asked == [CommitsAsked(1, 100, True), CommitsAsked(2, 2, False)]


async def test_a_deletion_and_a_set_state_are_told(served: Served) -> None:
    """They are no events."""
    served.ingress.commits_of["a"] = [
        commit(1, events=[], state=b'{"total":5}'), commit(2, events=[], deleted=True),
    ]  # fmt: skip
    deleted, was_set = (await served.wire.ask("GET", EVENTS)).json()
    assert (deleted["deleted"], deleted["events"]) == (True, [])
    assert (was_set["state"], "deleted" in was_set) == ({"total": 5}, False)


@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=1001", "limit=x", "limit=-1", "limit=1&limit=2", "from_revision=0",
        "order=up", "what=1", "limit=", "from_revision=9223372036854775808", "limit=1&follow",
        "follow=yes", "follow&order=newest",
    ],
)  # fmt: skip
async def test_wrong_queries_are_refused(served: Served, query: str) -> None:
    """None is guessed at."""
    reply = await served.wire.ask("GET", f"{EVENTS}?{query}")
    assert (reply.status, reply.json()["code"]) == (400, "invalid-query")


async def test_an_action_named_events_can_be_called(served: Served) -> None:
    """By POST; the other methods of the path are named."""
    echoed = await served.wire.ask("POST", "/v1/actors/Echo/e/events", b"1")
    assert (echoed.status, echoed.body) == (200, b"1\n")
    wrong = await served.wire.ask("PUT", EVENTS)
    assert (wrong.status, wrong.headers["allow"]) == (405, "GET, HEAD, POST")


async def read_message(wire: Wire) -> list[str]:
    """Return the lines of the next message of a stream that is sent in chunks."""
    size = int(await wire.reader.readuntil(b"\r\n"), 16)
    chunk = (await wire.reader.readexactly(size + 2))[:-2]
    assert chunk.endswith(b"\n\n")
    return chunk.decode().rstrip("\n").split("\n")


async def follow(
    served: Served, wire: Wire, query: str = "?follow", **headers: str
) -> FakeFollower:
    wire.request("GET", EVENTS + query, headers=headers)
    head = (await wire.reader.readuntil(b"\r\n\r\n")).decode()
    assert head.startswith("HTTP/1.1 200 OK\r\n")
    assert "Content-Type: text/event-stream\r\n" in head
    assert await read_message(wire) == [": following"]
    return served.ingress.followers[-1]


async def test_events_are_streamed_as_they_come(served: Served) -> None:
    """Each with the revision as its id; quiet times are filled."""
    async with served.connect() as wire:
        follower = await follow(served, wire)
        assert follower.after is None
        follower.queue.put_nowait(commit(7))
        follower.queue.put_nowait(None)
        name, data = await read_message(wire)
        assert name == "id: 7"
        assert json.loads(data.removeprefix("data: "))["events"][0]["fields"] == {"n": 5}
        assert await read_message(wire) == [":"]


@pytest.mark.parametrize(
    ("query", "headers", "after"),
    [
        ("?follow=", {}, None),
        ("?follow=1&from_revision=1", {}, 0),
        ("?follow", {"Last-Event-ID": "12"}, 12),
        ("?from_revision=3&follow", {"Last-Event-ID": "12"}, 12),
    ],
)
async def test_a_stream_goes_on_where_it_was(
    served: Served, query: str, headers: dict[str, str], after: int | None
) -> None:
    """What a browser sends by itself counts most."""
    async with served.connect() as wire:
        assert (await follow(served, wire, query, **headers)).after == after


async def test_a_stream_says_why_it_ends(served: Served) -> None:
    """As a problem; the connection ends with it."""
    async with served.connect() as wire:
        follower = await follow(served, wire)
        follower.queue.put_nowait(TooSlow("1,000 events wait"))
        name, data = await read_message(wire)
        assert name == "event: end"
        assert json.loads(data.removeprefix("data: "))["code"] == "too-slow"
        assert await wire.reader.read() == b"0\r\n\r\n"
        assert follower.closed.is_set()


async def test_a_stop_ends_streams_in_order() -> None:
    """At once, not after the grace."""
    async with serving() as served, served.connect() as wire:
        await follow(served, wire)
        await served.server.stop(grace_s=60.0)
        name, data = await read_message(wire)
        assert (name, json.loads(data.removeprefix("data: "))["code"]) == ("event: end", "draining")


async def test_what_is_not_there_is_not_followed(served: Served) -> None:
    """It is refused like a call."""
    unknown = await served.wire.ask("GET", "/v1/actors/Conter/a/events?follow")
    assert (unknown.status, unknown.json()["code"]) == (404, "unknown-type")


async def test_who_leaves_is_followed_no_more(served: Served) -> None:
    """It is noticed with the next message."""
    async with served.connect() as wire:
        follower = await follow(served, wire)
    for revision in range(1, 100):
        follower.queue.put_nowait(commit(revision))
    await follower.closed.wait()


async def test_streams_are_bounded(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is refused."""
    monkeypatch.setattr(commits, "STREAMS_MAX", 1)
    async with served.connect() as wire:
        await follow(served, wire)
        full = await served.wire.ask("GET", f"{EVENTS}?follow")
        assert (full.status, full.json()["code"]) == (503, "too-many-waiting")
    broken = await served.wire.ask("GET", f"{EVENTS}?follow", None, {"Last-Event-ID": "x"})
    assert broken.json()["code"] == "invalid-header"
