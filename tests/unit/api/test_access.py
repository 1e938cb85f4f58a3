"""Who may ask: names, websites, tokens."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from spawn.api.access import Access
from spawn.errors import ForeignHost, ForeignOrigin, SpawnError, Unauthorized


def headers(**fields: str) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(fields))


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "localhost:9001", "LOCALHOST:1", "localhost.", "127.0.0.1:9001", "127.8.9.1",
        "[::1]:9001", "[::1]", "app.localhost:80", "[::ffff:127.0.0.1]", "spawn.example.com:443",
        "10.0.0.5:9001",
    ],
)  # fmt: skip
def test_names_of_this_node_are_answered(host: str) -> None:
    """Loopback's, the address that it listens on, and those that were allowed."""
    access = Access(host="10.0.0.5", allowed_hosts=["spawn.example.com"])
    for _ in range(2):
        access.check("invoke", headers(Host=host))


@pytest.mark.parametrize(
    "host",
    [
        "evil.com", "localhost.evil.com", "127.0.0.1.evil.com", "10.0.0.6", "", "[::2]",
        "xlocalhost", "127.0.0.1@evil.com", "evil.com:localhost", "[::1].evil.com:80", "[::1]x",
        "localhost:80@evil.com", ".localhost", "a..localhost", "localhost..", "localhost:x", "::1",
        "localhost/evil.com", "[::1", "[localhost]", "localhost:80:80",
    ],
)  # fmt: skip
def test_other_names_are_foreign(host: str) -> None:
    """A website's name was made to lead here."""
    access = Access(host="10.0.0.5")
    with pytest.raises(ForeignHost):
        access.check("invoke", headers(Host=host))
    access.check("live", headers(Host=host))
    access.check("metrics", headers(Host=host))


def test_on_all_addresses_any_address_is_a_name() -> None:
    """An address can't be made to lead elsewhere, a name can."""
    access = Access(host="0.0.0.0")
    access.check("invoke", headers(Host="192.168.1.7:9001"))
    with pytest.raises(ForeignHost):
        access.check("invoke", headers(Host="evil.com"))


def test_on_all_addresses_a_website_at_an_address_is_foreign_unless_it_is_this_node() -> None:
    """Anybody may serve a page from an address; the node's own page has the node's."""
    access = Access(host="0.0.0.0")
    with pytest.raises(ForeignOrigin):
        access.check("invoke", headers(Host="127.0.0.1:9001", Origin="http://203.0.113.9"))
    with pytest.raises(ForeignOrigin):
        access.check("invoke", headers(Host="10.0.0.5:9001", Origin="http://10.0.0.5:8080"))
    foreign = headers(Host="127.0.0.1:9001", Origin="http://203.0.113.9")
    assert access.cors_headers(foreign) == ()
    access.check("invoke", headers(Host="10.0.0.5:9001", Origin="http://10.0.0.5:9001"))


def test_websites_are_told_apart() -> None:
    """Own pages and allowed ones may call."""
    access = Access(allowed_hosts=["spawn.example.com"], allowed_origins=["https://shop.example"])
    for origin in ("http://localhost:3000", "https://spawn.example.com", "https://shop.example"):
        access.check("invoke", headers(Host="localhost", Origin=origin))
        assert ("Access-Control-Allow-Origin", origin) in access.cors_headers(
            headers(Origin=origin)
        )
    for origin in (
        "null",
        "https://evil.com",
        "http://shop.example",
        "file://localhost",
        "http://[",
    ):
        with pytest.raises(ForeignOrigin):
            access.check("invoke", headers(Host="localhost", Origin=origin))
        assert access.cors_headers(headers(Origin=origin)) == ()


@pytest.mark.parametrize(
    "value", [None, "", "Bearer", "Bearer wrong", "Basic right-token", "right-token", "Bearer \xfc"]
)
def test_only_the_token_opens(value: str | None) -> None:
    """In `Authorization: Bearer`; probes and pages need none, metrics do."""
    access = Access(token="right-token")
    sent = headers() if value is None else headers(Authorization=value)
    for route in ("invoke", "types", "metrics", "none"):
        with pytest.raises(Unauthorized):
            access.check(route, sent)
        access.check(route, headers(Authorization="Bearer right-token"))
        access.check(route, headers(Authorization="bearer right-token"))
    for route in ("live", "ready", "docs", "error"):
        access.check(route, sent)


def test_two_tokens_are_none() -> None:
    """Somebody added one on the way."""
    twice = CIMultiDict([("Authorization", "Bearer right-token")] * 2)
    with pytest.raises(Unauthorized):
        Access(token="right-token").check("invoke", CIMultiDictProxy(twice))


def test_a_browser_that_asks_beforehand_needs_no_token() -> None:
    """It sends none; a foreign website is refused all the same."""
    access = Access(token="right-token", allowed_origins=["https://shop.example"])
    told = dict(access.preflight_headers(headers(Origin="https://shop.example"), ["POST"]))
    assert told["Access-Control-Allow-Methods"] == "POST"
    assert "Authorization" in told["Access-Control-Allow-Headers"]
    with pytest.raises(SpawnError):
        access.preflight_headers(headers(Origin="https://evil.com"), ["POST"])
