"""What a node tells of its system, in both lanes."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from spawn.api import Access
from spawn.core.system_view import OwnerSeen
from tests.integration.api.fake_ingress import TOPIC
from tests.integration.api.fake_view import FakeView
from tests.integration.api.wire import serving

ADD = "/v1/actors/Counter/a/add"
PAGES = ("/v1/nodes", "/v1/partitions", "/v1/owners")


async def test_owners_are_told_again_when_something_has_moved() -> None:
    """Asked with the tag of the last answer, 304 and nothing else while nothing has."""
    view = FakeView()
    async with serving(view=view) as served:
        first = await served.wire.ask("GET", "/v1/owners")
        assert first.json()["owners"] == {TOPIC: [0, 1, -1, 0]}
        tag = first.headers["etag"]
        for asked in (tag, f"W/{tag}", f'"x", {tag}'):
            again = await served.wire.ask("GET", "/v1/owners", headers={"If-None-Match": asked})
            assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
        view.owned[TOPIC][2] = OwnerSeen(5, "127.0.0.1:9102")
        moved = await served.wire.ask("GET", "/v1/owners", headers={"If-None-Match": tag})
        assert moved.json()["owners"] == {TOPIC: [0, 1, 1, 0]}
        assert moved.headers["etag"] != tag


async def test_a_node_that_is_gone_owns_nothing() -> None:
    """Its partitions are nobody's until somebody is heard of."""
    view = FakeView()
    view.owned[TOPIC][0] = OwnerSeen(2, "127.0.0.1:9999")
    async with serving(view=view) as served:
        assert (await served.wire.ask("GET", "/v1/owners")).json()["owners"][TOPIC][0] == -1
        line = (await served.wire.ask("GET", "/v1/partitions")).json()["partitions"][0]
        assert (line["owner"], line["http"], line["mesh"]) == (None, None, "127.0.0.1:9999")


async def test_a_thousand_partitions_are_a_few_kilobytes() -> None:
    """So that every client may ask for all of them."""
    view = FakeView()
    view.owned[TOPIC] = [OwnerSeen(n, f"127.0.0.1:910{n % 2 + 1}") for n in range(1000)]
    async with serving(view=view) as served:
        assert len((await served.wire.ask("GET", "/v1/owners")).body) < 4000


@pytest.mark.parametrize("express", [True, False])
async def test_an_answer_says_who_owns_the_actor_if_another_node_does(*, express: bool) -> None:
    """Replies, states, lists and errors; nothing where this node owns it, or nobody is known."""
    view = FakeView()
    async with serving(view=view, express=express) as served:
        asked = (
            ("POST", ADD, b"1"), ("GET", "/v1/actors/Counter/a", None),
            ("GET", "/v1/actors/Counter/a/events", None), ("POST", f"{ADD}x", b"1"),
            ("DELETE", "/v1/actors/Counter/a", None),
        )  # fmt: skip
        view.owned[TOPIC] = [OwnerSeen(1, "127.0.0.1:9101")] * 4
        for method, path, body in asked:
            assert "spawn-owner" not in (await served.wire.ask(method, path, body)).headers
        view.owned[TOPIC] = [OwnerSeen(1, "127.0.0.1:9102")] * 4
        for method, path, body in asked:
            reply = await served.wire.ask(method, path, body)
            assert reply.headers["spawn-owner"] == "http://127.0.0.1:9002", path
        unknown = await served.wire.ask("POST", "/v1/actors/Countr/a/add", b"1")
        assert (unknown.status, "spawn-owner" in unknown.headers) == (404, False)


async def test_the_token_is_asked_for_but_not_to_tell_which_process_answers() -> None:
    """A client that is told of a node looks whether it is that one before it sends the token."""
    async with serving(view=FakeView(), access=Access(token="t")) as served:
        for path in PAGES:
            assert (await served.wire.ask("GET", path)).status == 401
            assert (await served.wire.ask("GET", path, None, {"Authorization": "Bearer t"})
                    ).status == 200  # fmt: skip
        assert (await served.wire.ask("GET", "/health/live")).headers["spawn-node"] == "c0ffee"


async def test_a_node_that_is_alone_has_no_such_pages() -> None:
    """As nodes of earlier releases have none."""
    async with serving() as served:
        for path in PAGES:
            reply = await served.wire.ask("GET", path)
            assert (reply.status, reply.json()["code"]) == (404, "unknown-path")
        assert "spawn-node" not in (await served.wire.ask("GET", "/health/live")).headers


async def test_metrics_tell_of_the_system_and_of_links() -> None:
    """Each value under its name."""
    async with serving(view=FakeView()) as served:
        page = (await served.wire.ask("GET", "/metrics")).body.decode()
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
    expected = {
        ("spawn_nodes", "serving"): 2,
        ("spawn_nodes", "unmet"): 0,
        ("spawn_unfit",): 0,
        ("spawn_group_generation",): 7,
        ("spawn_group_leader",): 1,
        ("spawn_group_heartbeat_age_seconds",): 1.5,
        ("spawn_parked_commands",): 3,
        ("spawn_forwarded_commands_total",): 40,
        ("spawn_redirects_total",): 2,
        ("spawn_received_commands_total",): 50,
        ("spawn_handovers_total", "asked"): 5,
        ("spawn_handovers_total", "given"): 6,
        ("spawn_mesh_links_opened_total",): 2,
        ("spawn_mesh_messages_total", "sent"): 100,
        ("spawn_mesh_bytes_total", "received"): 2000,
        ("spawn_mesh_overflows_total",): 1,
        ("spawn_mesh_refusals_total", "version"): 1,
        ("spawn_mesh_endings_total", "closed"): 2,
    }
    assert {name: found[name] for name in expected} == expected
