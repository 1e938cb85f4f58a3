"""The HTTP surface of a real node on the embedded broker and PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.node.running import Client
from tests.integration.node.servers import NewNodes


@pytest.fixture
async def client(new_nodes: NewNodes, tansu: str, postgres_dsn: str) -> AsyncIterator[Client]:
    """A client of a node that serves."""
    node = new_nodes(tansu, postgres_dsn).start()
    await node.serving()
    async with Client.open(node.url) as client:
        yield client


async def test_calls_keys_timeouts_ids_and_limits(client: Client) -> None:
    """What the specification of the HTTP surface says holds, one by one."""
    fresh = await client.state("Counter/new")
    assert (fresh.status, fresh.revision) == (200, 0)
    assert fresh.json == {"type": "Counter", "id": "new", "revision": 0, "state": {"total": 0}}
    assert "Spawn-Position" not in fresh.headers

    first = await client.invoke("Counter/a", "add", 5, key="k1")
    assert (first.status, first.json, first.revision) == (200, 5, 1)
    assert (await client.invoke("Counter/a", "add", 6)).json == 11
    again = await client.invoke("Counter/a", "add", 5, key="k1")
    assert (again.status, again.json) == (200, 5)
    for header in ("Spawn-Revision", "Spawn-Position"):
        assert again.headers[header] == first.headers[header]
    other = await client.invoke("Counter/a", "add", 7, key="k1")
    assert (other.status, other.code) == (422, "key-reused")
    assert (await client.invoke("Counter/a", "total")).json == 11
    # A repetition leaves a record, so the actor's last one is later than that of its revision.
    state = await client.state("Counter/a")
    assert (state.json["revision"], state.json["state"]) == (2, {"total": 11})
    assert state.headers["Spawn-Position"].startswith("spawn.")

    refused = await client.invoke("Counter/a", "add", -1, key="k2")
    assert (refused.status, refused.code, refused.json["rejected"]) == (409, "negative", True)
    refused = await client.invoke("Counter/a", "add", -1, key="k2")
    assert (refused.status, refused.code) == (409, "negative")


async def test_ids_hold_any_characters(client: Client) -> None:
    """An id comes back as it was given, each is an actor of its own, and 255 bytes are the most."""
    ids = ["a/b", "ü λ 漢字 🚀", "..", ".", "100%", "a?b#c", "a b", '"', "x" * 255, "é" * 127]
    for actor_id in ids:
        reply = await client.invoke(f"Counter/{actor_id}", "add", 3)
        assert (reply.status, reply.json) == (200, 3), (actor_id, reply)
        state = await client.state(f"Counter/{actor_id}")
        assert state.json == {
            "type": "Counter", "id": actor_id, "revision": 1, "state": {"total": 3},
        }  # fmt: skip
    for actor_id in ("x" * 256, "é" * 128, ""):
        reply = await client.invoke(f"Counter/{actor_id}", "add", 3)
        assert (reply.status, reply.code) == (400, "invalid-id"), (actor_id, reply)
        assert "255" in reply.json["detail"]


async def test_bodies_and_waits_have_limits(client: Client) -> None:
    """Over 1 MiB, no JSON, another type, a deadline out of range: each is told with its code."""
    path = "/v1/actors/Counter/a/add"
    large = await client.send("POST", path, b" " * (1024 * 1024 + 1))
    assert (large.status, large.code) == (413, "too-large")
    assert "1,048,576" in large.json["detail"]
    most = await client.send("POST", path, b"1".rjust(1024 * 1024))
    assert (most.status, most.json) == (200, 1)
    for body, status, code in (
        (b"{", 400, "invalid-json"),
        (b'"5"', 422, "body-mismatch"),
        (b"5.5", 422, "body-mismatch"),
        (b"", 422, "body-mismatch"),
    ):
        reply = await client.send("POST", path, body)
        assert (reply.status, reply.code) == (status, code), (body, reply)
    for timeout_ms in (0, -1, 10**9):
        reply = await client.invoke("Counter/a", "add", 1, timeout_ms=timeout_ms)
        assert (reply.status, reply.code) == (400, "invalid-header")
    assert (await client.invoke("Counter/a", "ad", 1)).code == "unknown-action"
    assert (await client.invoke("Countr/a", "add", 1)).code == "unknown-type"
    assert (await client.invoke("Counter/a", "total")).json == 1
    assert (await client.send("GET", "/health/live")).status == 200
    metrics = await client.send("GET", "/metrics")
    assert metrics.status == 200
    assert b"spawn_" in metrics.body
