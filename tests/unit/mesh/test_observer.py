"""Nodes that watch each other over links in memory, in virtual time."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from spawn.mesh.link import Ended, Link
from spawn.mesh.memory_mesh import Delivery
from spawn.mesh.observer import Observer
from spawn.mesh.wire import Message
from tests.unit.mesh.virtual_world import Node, World

FOUND_S = 0.7
"""Of a node that stops; the second observer's opinion takes its way besides."""


class Watching:
    """A cluster whose nodes watch each other."""

    def __init__(self, *names: str) -> None:
        self.world = World()
        self.cut: set[tuple[str, str]] = set()
        self.world.network.fate = self._fate
        self.nodes: dict[str, Node] = {name: self.world.node(name) for name in names}
        self.observers: dict[str, Observer] = {}
        self.dead: set[str] = set()
        self.changes: list[tuple[float, str, str, bool]] = []
        """Time, observer, node, whether it is unreachable from now on."""
        members = {node.mesh.hello.node: name for name, node in self.nodes.items()}
        self._names = members
        for name, node in self.nodes.items():
            observer = Observer(
                node.mesh.hello.node,
                node.peers,
                self.world.clock.now,
                lambda node, gone, name=name: self._note(name, node, gone),  # type: ignore[misc]
            )
            self.observers[name] = observer
            node.told = _Handing(observer)
            node.peers._receiver = node.told
            observer.set_members(members)
            self._step(name)

    def _fate(self, delivery: Delivery) -> Sequence[float]:
        return () if (delivery.source, delivery.target) in self.cut else (0.002,)

    def _note(self, observer: str, node: str, gone: bool) -> None:
        self.changes.append((self.world.clock.now(), observer, self._names[node], gone))

    def _step(self, name: str) -> None:
        if name not in self.dead:
            wait_s = self.observers[name].step()
            self.world.clock.call_later(wait_s, lambda: self._step(name))

    def kill(self, name: str) -> None:
        """End a node's process."""
        self.dead.add(name)
        self.world.network.kill(name)

    def isolate(self, name: str) -> None:
        """Cut a node off, both ways."""
        for other in self.nodes:
            self.cut |= {(name, other), (other, name)}

    def found(self, observer: str) -> set[str]:
        """Return whom a node finds unreachable now."""
        return {self._names[node] for node in self.observers[observer].unreachable}


class _Handing:
    """Hands all to an observer."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def opened(self, link: Link) -> None:
        """Nothing to do."""

    def received(self, link: Link, messages: Sequence[Message]) -> None:
        """Hand it on."""
        self._observer.received(link, messages)

    def ended(self, link: Link, ended: Ended) -> None:
        """Hand it on."""
        self._observer.ended(link, ended)


@pytest.mark.parametrize("count", [2, 3, 5, 20])
def test_nobody_is_found_where_all_answer(count: int) -> None:
    """For a minute."""
    cluster = Watching(*(f"n{n}" for n in range(count)))
    cluster.world.clock.pass_s(60.0)
    assert cluster.changes == []


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_killed_node_is_found_by_all_at_once(count: int) -> None:
    """And stays so."""
    names = [f"n{n}" for n in range(count)]
    cluster = Watching(*names)
    cluster.world.clock.pass_s(1.0)
    cluster.kill("n0")
    cluster.world.clock.pass_s(0.05)
    assert all(cluster.found(name) == {"n0"} for name in names[1:])
    cluster.world.clock.pass_s(30.0)
    assert len(cluster.changes) == count - 1


@pytest.mark.parametrize("count", [3, 5])
def test_a_node_that_is_cut_off_is_found_in_time(count: int) -> None:
    """By the others; it finds nothing itself; healed it is reached again."""
    names = [f"n{n}" for n in range(count)]
    cluster = Watching(*names)
    cluster.world.clock.pass_s(1.0)
    cluster.isolate("n0")
    cluster.world.clock.pass_s(FOUND_S + 0.05)
    assert all(cluster.found(name) == {"n0"} for name in names[1:])
    cluster.world.clock.pass_s(5.0)
    assert cluster.found("n0") == set()
    cluster.cut.clear()
    cluster.world.clock.pass_s(3.0)
    assert all(cluster.found(name) == set() for name in names)
    assert len(cluster.changes) == 2 * (count - 1)


def test_a_way_cut_between_two_is_nothing() -> None:
    """The third node reaches both."""
    cluster = Watching("a", "b", "c")
    cluster.world.clock.pass_s(1.0)
    cluster.cut = {("a", "b"), ("b", "a")}
    cluster.world.clock.pass_s(20.0)
    assert cluster.changes == []


def test_a_connection_that_breaks_is_nothing() -> None:
    """The other observer has one, and the next ping makes a new one."""
    cluster = Watching("a", "b", "c")
    cluster.world.clock.pass_s(1.0)
    for _ in range(5):
        cluster.world.network.reset("a", "b")
        cluster.world.clock.pass_s(0.5)
    assert cluster.changes == []


def test_two_of_three_killed_are_found_by_the_last() -> None:
    """Their hosts refuse: it is not cut off."""
    cluster = Watching("a", "b", "c")
    cluster.world.clock.pass_s(1.0)
    cluster.kill("a")
    cluster.kill("b")
    cluster.world.clock.pass_s(0.2)
    assert cluster.found("c") == {"a", "b"}


def test_of_many_nodes_the_watchers_find_it() -> None:
    """All three; nobody else is told by them."""
    names = [f"n{n}" for n in range(20)]
    cluster = Watching(*names)
    cluster.world.clock.pass_s(1.0)
    cluster.kill("n0")
    cluster.world.clock.pass_s(1.0)
    assert sum(cluster.found(name) == {"n0"} for name in names[1:]) == 3


def test_who_is_no_member_any_more_is_forgotten() -> None:
    """The group has removed it."""
    cluster = Watching("a", "b", "c")
    cluster.world.clock.pass_s(1.0)
    cluster.kill("a")
    cluster.world.clock.pass_s(0.2)
    left = {node: name for node, name in cluster._names.items() if name != "a"}
    cluster.observers["b"].set_members(left)
    assert cluster.found("b") == set()
