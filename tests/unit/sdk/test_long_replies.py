"""Replies are stored, and so refused, like states: an int has at most 64 bits."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from eventstore.records import Outcome
from spawn.errors import ActionFailed
from spawn.sdk.actions import action
from spawn.sdk.actor import Actor
from tests.unit.sdk.one_run import read, run

MOST, LEAST = (1 << 63) - 1, -(1 << 63)
REPLY: list[int] = [0]


@dataclass(frozen=True)
class Note:
    """State and event."""

    text: str = ""


class Large(Actor[Note, Note]):
    """Replies with what it is told to."""

    @staticmethod
    def evolve(state: Note, event: Note) -> Note:
        """Take the last one."""
        return event

    @action
    def after_an_event(self) -> int:
        """Reply after an event."""
        self.emit(Note("x"))
        return REPLY[0]

    @action
    def alone(self) -> list[int]:
        """Reply within a list, without an event."""
        return [REPLY[0]]

    @action.read
    def look(self) -> int:
        """Reply to a read."""
        return REPLY[0]


@pytest.mark.parametrize("reply", [MOST, LEAST, 0, 10**17])
def test_a_reply_of_64_bits_is_told(reply: int) -> None:
    """Whichever way it is carried."""
    REPLY[0] = reply
    assert run(Large, "after_an_event").reply == reply
    assert run(Large, "alone").reply == [reply]
    assert read(Large, "look") == reply


@pytest.mark.parametrize("reply", [MOST + 1, LEAST - 1, 10**30])
def test_a_longer_one_is_a_failure_that_says_so(reply: int) -> None:
    """Nothing is stored: other programs could not read it."""
    REPLY[0] = reply
    for name in ("after_an_event", "alone"):
        decision = run(Large, name)
        assert (decision.outcome, decision.state) == (Outcome.FAILED, Note())
        assert decision.refusal is not None
        assert "must be an integer of at most 64 bits" in decision.refusal.message
    with pytest.raises(ActionFailed, match="the reply` must be an integer of at most 64 bits"):
        read(Large, "look")
