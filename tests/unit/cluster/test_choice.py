"""What a node is to do about one partition, rule by rule."""

from __future__ import annotations

import pytest

from spawn.cluster.choice import (
    HOLD_S,
    RELEASED_S,
    STEP_S,
    STRANGER_S,
    UNKNOWN_S,
    Choice,
    Choices,
    Node,
    Owned,
    Place,
    Standing,
)
from spawn.cluster.rendezvous import Rendezvous

_PLACE: Place = ("t", 3)
_IDS = [bytes([number]) * 16 for number in range(4)]
_ORDER = list(Rendezvous(_IDS).order(*_PLACE))
"""Whose turn it is, of four."""


class _View:
    """One node's choices about one partition, at a time that the test sets."""

    def __init__(self, rank: int = 0, nodes: int = 4) -> None:
        self.now = 100.0
        self.owner = Owned(0, "")
        self.nodes = [Node(id=node_id, endpoint=_at(node_id), topics={"t": 8}) for node_id in _IDS]
        me = next(node for node in self.nodes if node.id == _ORDER[rank])
        me.standing = Standing.SERVING
        self.choices = Choices(me, lambda place: self.owner, self.now)
        for node in self.nodes[:nodes]:
            if node is not me:
                self.choices.put(node)
                self.choices.stand(node, Standing.SERVING, self.now)

    def node(self, rank: int) -> Node:
        return next(node for node in self.nodes if node.id == _ORDER[rank])

    def owned_by(self, rank: int, epoch: int = 1) -> None:
        self.owner = Owned(epoch, self.node(rank).endpoint)

    def stand(self, rank: int, standing: Standing) -> None:
        self.choices.stand(self.node(rank), standing, self.now)

    def lose(self, rank: int) -> None:
        """This node's partition goes to another one's claim."""
        self.choices.let_go(_PLACE, self.now)
        self.owned_by(rank, self.owner.epoch + 1)
        self.choices.lost(_PLACE, self.owner.endpoint, self.now)

    def serve(self) -> None:
        """This node takes it."""
        self.owner = Owned(self.owner.epoch + 1, self.choices.me.endpoint)
        self.choices.took(_PLACE)

    def after(self, seconds: float) -> Choice:
        self.now += seconds
        return self.choices.choose(_PLACE, self.now)


def _at(node_id: bytes) -> str:
    return f"n{node_id[0]}:1"


def test_a_node_that_is_alone_claims_at_once() -> None:
    """Whatever the group says, or does not say."""
    view = _View(nodes=0)
    assert view.after(0) is Choice.CLAIM


@pytest.mark.parametrize("rank", range(4))
def test_what_nobody_serves_is_claimed_in_rendezvous_order(rank: int) -> None:
    """Each gives those before it a step each; time counts from the first look's end."""
    view = _View(rank)
    view.now += 7.0
    view.choices.begin(view.now)
    for _ in range(rank):
        assert view.after(0) is Choice.LEAVE
        view.now += STEP_S
    assert view.after(0) is Choice.CLAIM


def test_only_who_hosts_the_topic_and_serves_has_a_turn() -> None:
    """An unfit or leaving one, one that was never met, or one without the type, is passed over."""
    view = _View(rank=3)
    view.stand(0, Standing.UNFIT)
    view.stand(1, Standing.LEAVING)
    view.node(2).topics = {"other": 1}
    assert view.after(0) is Choice.CLAIM


def test_the_assigned_one_claims_what_nobody_serves_at_once() -> None:
    """Its turn in the order does not matter."""
    view = _View(rank=3)
    assert view.after(0) is Choice.LEAVE
    view.choices.assign([_PLACE])
    assert view.after(0) is Choice.CLAIM


def test_a_live_owner_is_asked_by_the_assigned_one_and_left_alone_by_others() -> None:
    """For however long it takes."""
    view = _View()
    view.owned_by(1)
    assert view.after(0) is Choice.LEAVE
    assert view.after(1000) is Choice.LEAVE
    view.choices.assign([_PLACE])
    assert view.after(0) is Choice.ASK
    assert view.after(1000) is Choice.ASK


@pytest.mark.parametrize("standing", [Standing.UNREACHABLE, Standing.UNFIT, Standing.UNMET])
def test_an_owner_that_cannot_serve_is_not_waited_for(standing: Standing) -> None:
    """The assigned one and the first in order at once, the second a step later."""
    first, second = _View(rank=0), _View(rank=1)
    for view in (first, second):
        view.owned_by(3)
        view.stand(3, standing)
    assert first.after(0) is Choice.CLAIM
    assert second.after(0) is Choice.LEAVE
    second.choices.assign([_PLACE])
    assert second.after(0) is Choice.CLAIM
    second.choices.assign([])
    assert second.after(STEP_S) is Choice.CLAIM


def test_a_leaving_owner_is_asked_by_the_next_in_order() -> None:
    """It serves until it has released; the group will hear of it later."""
    first, second = _View(rank=0), _View(rank=1)
    for view in (first, second):
        view.owned_by(3)
        view.stand(3, Standing.LEAVING)
    assert first.after(0) is Choice.ASK
    assert second.after(0) is Choice.LEAVE
    assert second.after(STEP_S) is Choice.ASK


@pytest.mark.parametrize("standing", [Standing.UNFIT, Standing.LEAVING])
def test_who_cannot_serve_begins_nothing_but_goes_on_with_what_it_has(standing: Standing) -> None:
    """An owner is only displaced by others, or asked by them."""
    view = _View()
    view.choices.assign([_PLACE])
    view.stand(0, standing)
    assert view.after(0) is Choice.LEAVE
    view.serve()
    assert view.after(0) is Choice.KEEP


def test_who_serves_goes_on_whatever_the_group_says_until_it_is_asked() -> None:
    """Then it lets go, and leaves it to the one who asked for a while."""
    view = _View()
    view.serve()
    view.choices.assign([])
    assert view.after(100) is Choice.KEEP
    assert view.choices.may_give(_PLACE)
    view.choices.give(_PLACE)
    assert view.after(0) is Choice.LEAVE
    view.owner = Owned(1, "")
    view.choices.let_go(_PLACE, view.now)
    assert view.after(RELEASED_S * 0.9) is Choice.LEAVE
    assert view.after(RELEASED_S) is Choice.CLAIM, "whoever asked did not take it"


def test_what_is_assigned_is_not_given_away() -> None:
    """Nor anything before the group has said a word; but a leaving node gives all."""
    view = _View()
    view.serve()
    assert not view.choices.may_give(_PLACE)
    view.choices.assign([_PLACE])
    assert not view.choices.may_give(_PLACE)
    view.choices.unassign()
    assert view.choices.may_give(_PLACE)
    view.choices.assign([_PLACE])
    view.stand(0, Standing.LEAVING)
    assert view.choices.may_give(_PLACE)


def test_who_hears_of_a_newer_claim_stops_serving() -> None:
    """It asks if the partition should be its own; the log would tell it only with an append."""
    view = _View()
    view.serve()
    view.choices.assign([_PLACE])
    view.owned_by(1, epoch=2)
    assert view.after(0) is Choice.LEAVE
    view.choices.let_go(_PLACE, view.now)
    assert view.after(0) is Choice.ASK


def test_a_name_in_the_table_is_no_service() -> None:
    """Another node may tell that we own it: a process that was at our endpoint before."""
    view = _View()
    view.owner = Owned(5, view.choices.me.endpoint)
    assert view.after(0) is Choice.CLAIM


def test_nobody_else_is_at_our_endpoint() -> None:
    """An entry of a former process there does not displace this node."""
    view = _View(nodes=0)
    view.choices.put(Node(id=b"x" * 16, endpoint=view.choices.me.endpoint, topics={"t": 8}))
    assert list(view.choices.nodes) == [view.choices.me.id]
    assert view.after(0) is Choice.CLAIM


def test_a_node_that_starts_again_takes_its_predecessors_place() -> None:
    """The one that was at its endpoint has ended, and has no turn any more."""
    view = _View(rank=1)
    new = Node(id=b"y" * 16, endpoint=view.node(0).endpoint, topics={})
    view.choices.put(new)
    assert _ORDER[0] not in view.choices.nodes
    assert view.choices.at_endpoint(new.endpoint) is new
    assert view.after(0) is Choice.CLAIM


def test_an_owner_that_is_not_known_yet_is_looked_for_before_it_is_displaced() -> None:
    """It may have started a moment ago; who is assigned waits too."""
    view = _View()
    view.owner = Owned(4, "somewhere:1")
    view.choices.assign([_PLACE])
    assert view.after(0) is Choice.LEAVE
    assert view.after(UNKNOWN_S * 0.9) is Choice.LEAVE
    assert view.after(UNKNOWN_S * 0.2) is Choice.CLAIM


def test_a_loss_is_answered_by_staying_away_for_a_time_that_doubles() -> None:
    """Also by the assigned one, which asks then."""
    view = _View()
    view.choices.assign([_PLACE])
    hold = HOLD_S
    for _ in range(3):
        view.serve()
        view.lose(1)
        assert view.after(hold * 0.9) is Choice.LEAVE
        assert view.after(hold * 0.2) is Choice.ASK
        hold *= 2
    view.choices.kept(_PLACE)
    view.lose(1)
    assert view.after(HOLD_S * 1.1) is Choice.ASK


def test_nobody_stays_away_from_what_was_lost_to_a_node_that_is_gone() -> None:
    """There is no duel with the dead."""
    view = _View()
    for _ in range(4):
        view.lose(1)
    assert view.after(0) is Choice.LEAVE
    view.now += 0.1
    view.stand(1, Standing.UNREACHABLE)
    assert view.after(0) is Choice.CLAIM


@pytest.mark.parametrize("is_grouped", [True, False])
def test_who_lost_to_a_node_that_it_never_reached_leaves_it_alone(is_grouped: bool) -> None:
    """The group would find out if it died; without a group it is tried again, ever more rarely."""
    view = _View()
    if is_grouped:
        view.choices.assign([])
    view.stand(1, Standing.UNREACHABLE)
    view.now += 1
    view.lose(1)
    assert view.after(STRANGER_S * 0.9) is Choice.LEAVE
    assert view.after(STRANGER_S * 0.2) is (Choice.LEAVE if is_grouped else Choice.CLAIM)
    view.lose(1)
    assert view.after(STRANGER_S * 1.5) is Choice.LEAVE
    assert view.after(STRANGER_S) is (Choice.LEAVE if is_grouped else Choice.CLAIM)


def test_who_lost_to_a_node_that_was_reached_since_may_claim_from_it() -> None:
    """It was there, and is gone: that is a new matter."""
    view = _View()
    view.choices.assign([])
    view.stand(1, Standing.UNREACHABLE)
    view.now += 1
    view.lose(1)
    view.now += 30
    view.stand(1, Standing.SERVING)
    assert view.after(1) is Choice.LEAVE
    view.stand(1, Standing.UNREACHABLE)
    assert view.after(0) is Choice.CLAIM


def test_of_two_that_cannot_reach_each_other_the_assigned_one_stays() -> None:
    """It claims back what the other took; the other leaves it then."""
    view = _View()
    view.choices.assign([_PLACE])
    view.stand(1, Standing.UNREACHABLE)
    view.now += 1
    view.serve()
    view.lose(1)
    assert view.after(HOLD_S * 0.9) is Choice.LEAVE
    assert view.after(HOLD_S * 0.2) is Choice.CLAIM


def test_a_loss_to_nobody_knows_whom_is_held_too() -> None:
    """Somebody claimed; the log no longer says who."""
    view = _View()
    view.serve()
    view.choices.let_go(_PLACE, view.now)
    view.owner = Owned(1, "")
    view.choices.lost(_PLACE, "", view.now)
    assert view.after(HOLD_S * 0.9) is Choice.LEAVE
    assert view.after(HOLD_S * 0.2) is Choice.CLAIM


def test_time_changes_nothing_while_a_live_node_serves_what_is_not_ours() -> None:
    """All else has to be looked at again."""
    view = _View()
    assert not view.choices.is_settled(_PLACE)
    view.owned_by(1)
    assert view.choices.is_settled(_PLACE)
    view.choices.assign([_PLACE])
    assert not view.choices.is_settled(_PLACE)
    view.choices.assign([])
    view.stand(1, Standing.UNREACHABLE)
    assert not view.choices.is_settled(_PLACE)
