"""Which node a call goes to, and what changes that."""

from __future__ import annotations

import pytest

from spawn.client.fleet import Address, Fleet, Told, ToldNode

A, B, C = "http://a:9001", "http://b:9001", "http://c:9001"
PLACES = [("t", n) for n in range(4)]


def fleet(*given: str) -> Fleet:
    return Fleet([Address(url, url) for url in given])


def told(*standings: str, owners: list[int] | None = None, node: str = "a") -> Told:
    nodes = [
        ToldNode(name, url, standing)
        for name, url, standing in zip("abc", (A, B, C), standings, strict=False)
    ]
    return Told(node, nodes, {"t": owners or [0, 1, 2, -1]})


def chosen(made: Fleet, now: float = 0.0, tried: tuple[str, ...] = ()) -> list[str]:
    return [getattr(made.choose(place, tried, now), "url", "") for place in PLACES]


def test_calls_go_to_owners_that_were_found() -> None:
    """Until then, and where nobody is known to own it, to the address given."""
    made = fleet(A)
    assert chosen(made) == [A] * 4
    made.learn(told("serving", "serving", "serving"), A)
    assert chosen(made) == [A] * 4
    assert made.unfound(0) == {"b": B, "c": C}
    made.found("b")
    assert chosen(made) == [A, B, A, A]
    made.found("c")
    assert chosen(made) == [A, B, C, A]
    assert made.choose(("other", 0), (), 0) == Address(A, A)
    assert made.choose(None, (), 0) == Address(A, A)


def test_an_address_that_failed_comes_behind_the_others_for_a_while() -> None:
    """For longer with each failure; an answer clears it."""
    made = fleet(A)
    made.learn(told("serving", "serving", "serving"), A)
    made.found("b")
    made.found("c")
    made.failed(B, 10.0)
    assert chosen(made, 10.1)[1] == A
    assert chosen(made, 10.6)[1] == B
    made.failed(B, 10.6)
    assert chosen(made, 11.2)[1] == A
    made.answered(B)
    assert chosen(made, 11.2)[1] == B
    made.failed(A, 20.0)
    assert chosen(made, 20.1) == [B, B, C, B]


def test_every_address_is_tried_before_one_is_tried_again() -> None:
    """Those that failed too: something may have changed. Then there is none."""
    made = fleet(A, B)
    made.failed(A, 0.0)
    made.failed(B, 0.0)
    assert made.choose(None, (), 0.1) == Address(A, A)
    assert made.choose(None, (A,), 0.1) == Address(B, B)
    assert made.choose(None, (A, B), 0.1) is None


def test_the_address_that_did_well_last_is_kept() -> None:
    """Calls whose owner is not known do not wander."""
    made = fleet(A, B)
    made.failed(A, 0.0)
    assert made.choose(None, (), 100.0) == Address(B, B)


def test_a_node_that_says_who_the_owner_is_is_believed() -> None:
    """It is called once it was found; told again, it is no news."""
    made = fleet(A)
    made.learn(told("serving", "serving", "serving"), A)
    made.found("b")
    assert made.moved(("t", 0), B)
    assert not made.moved(("t", 0), B)
    assert made.moved(("t", 1), C)
    assert made.moved(("t", 99), B)
    assert made.moved(("other", 0), B)
    assert made.moved(("t", 3), "http://new:9001")
    assert chosen(made) == [B, A, A, A]
    made.found("c")
    assert chosen(made) == [B, C, C, A]


def test_a_new_process_at_an_old_address_is_looked_for_again() -> None:
    """It may be another node; one that is gone is called no more."""
    made = fleet(A)
    made.learn(told("serving", "serving"), A)
    made.found("b")
    again = told("serving", "serving")
    again.nodes[1].id = "b2"
    made.learn(again, A)
    assert chosen(made)[1] == A
    assert made.unfound(0) == {"b2": B}
    made.found("b2")
    assert chosen(made)[1] == B
    made.learn(told("serving"), A)
    assert chosen(made)[1] == A


def test_nodes_that_others_do_not_reach_are_given_up() -> None:
    """Also under the address that was given, by the id that answered there."""
    localhost = "http://localhost:9001"
    made = fleet(localhost)
    made.learn(told("serving", "serving", "serving"), localhost)
    for name in "abc":
        made.found(name)
    assert not made.gone()
    made.learn(told("unreachable", "serving", "unmet", node="b"), B)
    assert made.gone() == {A, C, localhost}
    assert made.unfound(0) == {}


@pytest.mark.parametrize(
    "url", ["http://0.0.0.0:9001", "", "ftp://h", "http://u:p@h:1", "http://h:9001/?x", "h:1"]
)
def test_what_can_not_be_called_is_not(url: str) -> None:
    """A node that listens everywhere and says no more, or none that can be meant."""
    made = fleet(A)
    odd = told("serving", "serving")
    odd.nodes[1].http = url
    made.learn(odd, A)
    assert not made.unfound(0)


def test_what_went_over_tls_never_goes_without() -> None:
    """A token would be shown."""
    made = fleet("https://a:9001")
    made.learn(told("serving", "serving"), "https://a:9001")
    assert not made.unfound(0)


def test_owners_that_are_told_wrong_are_nobody() -> None:
    """A number of no node, fewer partitions than there are."""
    made = fleet(A)
    made.learn(told("serving", "serving", owners=[7, -5, 1]), A)
    made.found("b")
    assert chosen(made) == [A, A, B, A]
