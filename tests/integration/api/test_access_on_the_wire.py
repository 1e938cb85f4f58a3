"""Tokens, names and websites, in both lanes."""

from __future__ import annotations

import pytest

from spawn.api import Access
from tests.integration.api.fake_ingress import statistics
from tests.integration.api.wire import serving

ADD = "/v1/actors/Counter/a/add"
TOKEN = {"Authorization": "Bearer right-token"}


@pytest.mark.parametrize("express", [True, False])
async def test_without_the_token_nothing_is_told_or_done(*, express: bool) -> None:
    """What needs none: probes, and pages that are the same in every node."""
    async with serving(express=express, access=Access(token="right-token")) as served:
        for method, path in (
            ("POST", ADD), ("GET", "/v1/actors/Counter/a"), ("GET", "/v1/types"),
            ("GET", "/openapi.json"), ("GET", "/metrics"), ("GET", "/nowhere"),
            ("DELETE", "/v1/actors/Counter/a"), ("POST", "/v1/batch"),
            ("GET", "/v1/actors/Counter/a/events?follow"),
        ):  # fmt: skip
            reply = await served.wire.ask(method, path, b"5" if method == "POST" else None)
            assert (reply.status, reply.json()["code"]) == (401, "unauthorized"), path
            assert reply.headers["www-authenticate"] == "Bearer"
        assert served.ingress.calls == []
        for path in ("/health/live", "/health/ready", "/docs", "/errors/unauthorized"):
            assert (await served.wire.ask("GET", path)).status == 200
        assert (await served.wire.ask("POST", ADD, b"5", TOKEN)).body == b"5\n"
        wrong = {"Authorization": "Bearer right-tokem"}
        assert (await served.wire.ask("POST", ADD, b"5", wrong)).status == 401
        assert (await served.wire.ask("POST", ADD, b"5", TOKEN)).body == b"10\n"


async def test_why_a_node_is_not_ready_is_told_to_who_has_the_token() -> None:
    """Reasons name topics, offsets and errors; probes need the status alone."""
    async with serving(access=Access(token="right-token")) as served:
        reasons = ["partition spawn.shop.Counter/3 is being taken over"]
        served.ingress.statistics_now = statistics(ready=False, reasons=reasons)
        for headers in ({}, {"Authorization": "Bearer right-tokem"}):
            reply = await served.wire.ask("GET", "/health/ready", headers=headers)
            assert (reply.status, reply.json()) == (503, {"ready": False})
        reply = await served.wire.ask("GET", "/health/ready", headers=TOKEN)
        assert (reply.status, reply.json()) == (503, {"ready": False, "reasons": reasons})


@pytest.mark.parametrize("express", [True, False])
async def test_a_foreign_name_is_refused(*, express: bool) -> None:
    """But not for probes and scrapers."""
    async with serving(express=express, access=Access()) as served:
        for path, status in ((ADD, 403), ("/health/live", 200), ("/metrics", 200)):
            method = "POST" if path == ADD else "GET"
            head = f"{method} {path} HTTP/1.1\r\nHost: evil.com\r\nContent-Length: 0\r\n\r\n"
            served.wire.send(head.encode())
            reply = await served.wire.reply()
            assert reply.status == status
            if status == 403:
                assert reply.json()["code"] == "foreign-host"
        assert served.ingress.calls == []


@pytest.mark.parametrize("express", [True, False])
async def test_browsers_carry_calls_of_allowed_websites_only(*, express: bool) -> None:
    """Asked beforehand or not."""
    access = Access(allowed_origins=["https://shop.example"], token="right-token")
    async with serving(express=express, access=access) as served:
        wire, shop = served.wire, {"Origin": "https://shop.example"}
        asks = {"Access-Control-Request-Method": "POST"}
        told = await wire.ask("OPTIONS", ADD, None, {**shop, **asks})
        assert (told.status, told.body) == (204, b"")
        assert told.headers["access-control-allow-origin"] == "https://shop.example"
        assert told.headers["access-control-allow-methods"] == "POST"
        called = await wire.ask("POST", ADD, b"5", {**shop, **TOKEN})
        assert called.body == b"5\n"
        assert called.headers["access-control-allow-origin"] == "https://shop.example"
        assert "Spawn-Revision" in called.headers["access-control-expose-headers"]
        refused = await wire.ask("POST", ADD, b"5", shop)
        assert refused.status == 401
        assert refused.headers["access-control-allow-origin"] == "https://shop.example"
        for method, more in (("POST", TOKEN), ("OPTIONS", asks)):
            evil = await wire.ask(method, ADD, None, {"Origin": "https://evil.com", **more})
            assert (evil.status, evil.json()["code"]) == (403, "foreign-origin")
            assert "access-control-allow-origin" not in evil.headers
        assert len(served.ingress.calls) == 1
