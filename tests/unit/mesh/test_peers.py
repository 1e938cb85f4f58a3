"""Links by endpoint, on a network in memory and a clock that a test moves."""

from __future__ import annotations

import pytest

from spawn.errors import NodeUnreachable
from spawn.mesh.link import Ending
from spawn.mesh.peers import BACK_OFF_MAX_S, BACK_OFF_S, DENIED_S, IDLE_S
from spawn.mesh.wire import Opinion, Ping, Pong
from tests.unit.mesh.virtual_world import World


@pytest.fixture
def world() -> World:
    """An empty one."""
    return World()


def test_a_link_is_opened_once_and_shared(world: World) -> None:
    """By both ends."""
    a, b = world.node("a"), world.node("b")
    link = a.peers.link("b")
    assert a.peers.link("b") is link
    assert list(a.peers.links()) == []
    link.post(Ping(1))
    world.clock.pass_s(0.1)
    assert a.told.messages == [Pong(1)]
    assert list(a.peers.links()) == [link]
    back = b.peers.link("a")
    back.post(Opinion("x", ""))
    world.clock.pass_s(0.1)
    assert a.told.messages == [Pong(1), Opinion("x", "")]
    assert a.mesh.counts.opened == b.mesh.counts.opened == 1


def test_two_that_open_at_once_use_one_in_the_end(world: World) -> None:
    """Both links work meanwhile, and the one that is not used is closed."""
    a, b = world.node("a"), world.node("b")
    a.peers.link("b").post(Ping(1))
    b.peers.link("a").post(Ping(2))
    world.clock.pass_s(0.1)
    assert a.told.messages == [Pong(1)]
    assert b.told.messages == [Pong(2)]
    for n in range(40):
        a.peers.link("b").post(Ping(10 + n))
        world.clock.pass_s(IDLE_S / 10)
        a.peers.sweep()
        b.peers.sweep()
    assert len(a.told.messages) == 41
    assert len(a.told.ends) == len(b.told.ends) <= 1


def test_after_a_failure_none_is_opened_for_a_while(world: World) -> None:
    """Each time longer, up to a limit; the error says what was found."""
    a = world.node("a")
    waits = []
    for _ in range(8):
        a.peers.link("b")
        world.clock.pass_s(0.01)
        failed_at = world.clock.now() - 0.01
        with pytest.raises(NodeUnreachable, match="node b is not reached: nobody listens"):
            a.peers.link("b")
        while True:
            world.clock.pass_s(0.01)
            try:
                a.peers.link("b")
            except NodeUnreachable:
                continue
            waits.append(world.clock.now() - failed_at)
            world.clock.pass_s(BACK_OFF_MAX_S)
            break
    assert waits[0] == pytest.approx(2 * BACK_OFF_S, abs=0.06)
    assert waits == sorted(waits)
    assert waits[-1] == pytest.approx(BACK_OFF_MAX_S, abs=0.02)


def test_a_peer_that_calls_is_there(world: World) -> None:
    """Whatever the wait."""
    a = world.node("a")
    for _ in range(6):
        a.peers.link("b")
        world.clock.pass_s(BACK_OFF_MAX_S)
    a.peers.link("b")
    world.clock.pass_s(0.01)
    b = world.node("b")
    b.peers.link("a")
    world.clock.pass_s(0.01)
    a.peers.link("b").post(Ping(3))
    world.clock.pass_s(0.01)
    assert a.told.messages == [Pong(3)]


def test_a_peer_that_denies_us_is_left_alone_longer(world: World) -> None:
    """It takes an upgrade."""
    a, _ = world.node("a"), world.node("b", "shop2")
    a.peers.link("b")
    world.clock.pass_s(DENIED_S - 0.1)
    assert a.told.ends[0][1].ending is Ending.DENIED
    with pytest.raises(NodeUnreachable, match="refuses this node"):
        a.peers.link("b")
    world.clock.pass_s(0.2)
    a.peers.link("b")


def test_a_node_started_again_is_reached(world: World) -> None:
    """At once when its predecessor's link is known to be gone."""
    a, _ = world.node("a"), world.node("b")
    first = a.peers.link("b")
    world.clock.pass_s(0.1)
    again = world.node("b")
    world.clock.pass_s(0.2)
    assert first.ended is not None
    a.peers.link("b").post(Ping(4))
    world.clock.pass_s(0.1)
    assert a.told.messages == [Pong(4)]
    assert again.mesh.counts.opened == 1


def test_the_newest_process_of_an_endpoint_is_called(world: World) -> None:
    """Though the link to the one before it seems to live: its end was lost on the way."""
    a, _ = world.node("a"), world.node("b")
    first = a.peers.link("b")
    world.clock.pass_s(0.1)
    world.network.fate = lambda delivery: () if delivery.what == "end" else (0.0,)
    again = world.node("b")
    again.peers.link("a")
    world.clock.pass_s(0.1)
    assert first.ended is None
    assert a.peers.link("b").peer == again.mesh.hello


def test_links_that_nobody_uses_are_closed(world: World) -> None:
    """By the end that opened them, in order; then they are opened again without a wait."""
    a, b = world.node("a"), world.node("b")
    link = a.peers.link("b")
    for _ in range(30):
        world.clock.pass_s(5.0)
        b.peers.sweep()
        a.peers.sweep()
    assert link.ended is not None
    assert [end.ending for _, end in a.told.ends + b.told.ends] == [Ending.CLOSED] * 2
    assert a.peers.link("b") is not link


def test_who_was_found_unreachable_is_left(world: World) -> None:
    """All links at once; what had not left is told."""
    a, _ = world.node("a"), world.node("b")
    link = a.peers.link("b")
    world.clock.pass_s(0.1)
    link.post(Opinion("x", ""))
    a.peers.leave("b", "no answer")
    a.peers.leave("nobody", "no answer")
    ((told, ended),) = a.told.ends
    assert told is link
    assert (ended.ending, ended.unsent) == (Ending.TIMED_OUT, [Opinion("x", "")])
    with pytest.raises(NodeUnreachable, match="no answer"):
        a.peers.link("b")


def test_endpoints_have_a_limit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """For one more nothing is opened; a peer beyond it that calls is answered all the same."""
    monkeypatch.setattr("spawn.mesh.peers.PEERS_MAX", 1)
    a = world.node("a")
    a.peers.link("gone")
    with pytest.raises(NodeUnreachable, match="as many as may"):
        a.peers.link("b")
    b = world.node("b")
    b.peers.link("a").post(Ping(1))
    world.clock.pass_s(0.1)
    assert b.told.messages == [Pong(1)]


def test_endpoints_are_forgotten(world: World) -> None:
    """Those that are gone cost nothing in the end."""
    a = world.node("a")
    for n in range(3):
        a.peers.link(f"gone-{n}")
    world.clock.pass_s(1.0)
    assert len(a.peers._peers) == 3
    world.clock.pass_s(100.0)
    a.peers.sweep()
    assert not a.peers._peers
