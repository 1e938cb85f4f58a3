"""Which node a client sends a call to (pure).

A client knows the addresses that it was given, and what nodes told: who is there, and who owns
which partition. All of that is a guess. Any node takes any call: a wrong one costs a way more.

An address that was told is used only once the node of that id has answered there (`found`): what a
node calls its own address may lead to somebody else from here, or nowhere (containers, NAT).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from spawn.client.paths import node_address

__all__ = ["Address", "Fleet", "Place", "Told", "ToldNode"]

_AGAIN_S: Final = 0.5
_AGAIN_MAX_S: Final = 15.0
"""An address that failed is tried last for so long, doubled with each failure."""
_ANYWHERE: Final = ("0.0.0.0", "::", "")
_GONE: Final = ("unreachable", "unmet")

Place = tuple[str, int]
"""Topic and partition."""


class Address(NamedTuple):
    """Where a request goes."""

    url: str
    shown: str
    """Without a password."""


class ToldNode(msgspec.Struct):
    """A node, in `/v1/owners`."""

    id: str
    http: str
    standing: str


class Told(msgspec.Struct):
    """What `/v1/owners` says."""

    node: str
    nodes: list[ToldNode]
    owners: dict[str, list[int]]


class _Health:
    """How an address did."""

    __slots__ = ("again_at", "failures")

    def __init__(self) -> None:
        self.failures = 0
        self.again_at = float("-inf")


class Fleet:
    """The nodes of one client."""

    def __init__(self, given: Sequence[Address]) -> None:
        assert given, "a client knows a node"
        self._given = list(given)
        self._given_urls = {each.url for each in given}
        self._is_secret = all(each.url.startswith("https:") for each in given)
        self._nodes: dict[str, ToldNode] = {}
        """By id, those with an address that may be called."""
        self._told: dict[str, str] = {}
        """Addresses by id, whatever they are."""
        self._found: dict[str, str] = {}
        """Address by id, of nodes that answered there as themselves."""
        self._owners: dict[str, list[str]] = {}
        """Ids by topic and partition; empty: nobody is known."""
        self._answering: dict[str, str] = {}
        """By address given, the id of the node that answered there last."""
        self._health: dict[str, _Health] = {}

    @property
    def has_others(self) -> bool:
        """Whether there is more than one address to try."""
        return len(self._given_urls.union(self._found.values())) > 1

    # --- choosing --------------------------------------------------------------------------------

    def choose(self, place: Place | None, tried: Collection[str], now: float) -> Address | None:
        """Return where to send a copy; None: every address was tried.

        The owner first, then the address given that did well last, then the others; those that
        failed a moment ago come behind all that did not.
        """
        late: Address | None = None
        for address in self._candidates(place):
            if address.url in tried:
                continue
            if self._is_well(address.url, now):
                return address
            late = late or address
        return late

    def _candidates(self, place: Place | None) -> Iterator[Address]:
        owner = self._owner_url(place)
        if owner:
            yield Address(owner, owner)
        yield from self._given
        for url in self._found.values():
            yield Address(url, url)

    def _owner_url(self, place: Place | None) -> str:
        if place is None:
            return ""
        owners = self._owners.get(place[0], ())
        return self._found.get(owners[place[1]], "") if place[1] < len(owners) else ""

    def _is_well(self, url: str, now: float) -> bool:
        health = self._health.get(url)
        return health is None or now >= health.again_at

    # --- what becomes of it ----------------------------------------------------------------------

    def failed(self, url: str, now: float) -> None:
        """Nobody answered at an address, or a node that stops."""
        health = self._health.setdefault(url, _Health())
        health.again_at = now + min(_AGAIN_S * 2.0**health.failures, _AGAIN_MAX_S)
        health.failures = min(health.failures + 1, 10)
        if self._given[0].url == url:
            self._given.append(self._given.pop(0))

    def answered(self, url: str) -> None:
        """A node answered at an address."""
        if self._health:
            self._health.pop(url, None)

    def moved(self, place: Place, url: str) -> bool:
        """A node said where the owner of a partition is; tell whether that is news."""
        owners = self._owners.get(place[0], [])
        if place[1] >= len(owners):
            return True
        if self._told.get(owners[place[1]]) == url:
            return False  # it can't be called from here, so another one passes calls on
        for node_id, told in self._told.items():
            if told == url:
                owners[place[1]] = node_id
        return True

    # --- what is told ----------------------------------------------------------------------------

    def learn(self, told: Told, url: str) -> None:
        """Take what a node that was asked at an address tells of its system."""
        if url in self._given_urls:
            self._answering[url] = told.node
        usable = [node for node in told.nodes if self._may_call(node.http)]
        self._nodes = {node.id: node for node in usable}
        self._told = {node.id: node.http for node in told.nodes}
        known = {*self._given_urls, *self._told.values()}
        self._health = {url: health for url, health in self._health.items() if url in known}
        self._found = {
            node_id: url
            for node_id, url in self._found.items()
            if node_id in self._nodes and self._nodes[node_id].http == url
        }
        for node in usable:
            if node.http in self._given_urls:
                self._found[node.id] = node.http
        ids = [node.id for node in told.nodes]
        self._owners = {
            topic: [ids[n] if 0 <= n < len(ids) else "" for n in numbers]
            for topic, numbers in told.owners.items()
        }

    def _may_call(self, url: str) -> bool:
        try:
            node_address(url)
            host = urlsplit(url).hostname or ""
        except (TypeError, ValueError):
            return False
        if self._is_secret and not url.startswith("https:"):
            return False  # what was sent over TLS so far is not sent without
        return host not in _ANYWHERE and "@" not in url

    def unfound(self, now: float) -> Mapping[str, str]:
        """Return addresses by id of nodes that were told and are to be looked for."""
        return {
            node.id: node.http
            for node in self._nodes.values()
            if node.id not in self._found
            and node.standing not in _GONE
            and self._is_well(node.http, now)
        }

    def found(self, node_id: str) -> None:
        """A node answered at its address as itself."""
        node = self._nodes.get(node_id)
        if node is not None:
            self._found[node_id] = node.http
            self.answered(node.http)

    def gone(self) -> Collection[str]:
        """Return addresses of nodes that the others don't reach."""
        lost = {node.id for node in self._nodes.values() if node.standing in _GONE}
        urls = {self._nodes[node_id].http for node_id in lost}
        urls |= {url for url, node_id in self._answering.items() if node_id in lost}
        return urls - {node.http for node in self._nodes.values() if node.id not in lost}
