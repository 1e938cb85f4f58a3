"""Asks the node for every aircraft's state, and names each difference from what is expected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote

import msgspec

from examples.flights.aircraft import Logbook
from examples.flights.connection import request_bytes
from examples.flights.delivery import Address, Conversation, deliver
from examples.flights.expected import Totals

__all__ = ["ActorState", "differences", "read_states"]

LANES = 32
"""Requests on their way at once; reads need no groups."""


class ActorState(msgspec.Struct):
    """What a node answers to `GET /v1/actors/Aircraft/{id}`; its other members are ignored."""

    id: str
    revision: int
    state: Logbook


async def read_states(aircraft: Iterable[str], address: Address) -> dict[str, ActorState]:
    """Return the state of each of these aircraft. Raises: DeliveryFailed, Unanswered."""
    states: dict[str, ActorState] = {}
    decoder = msgspec.json.Decoder(ActorState)
    rest = iter(aircraft)

    def lane() -> Conversation:
        for tail in rest:
            answer = yield request_bytes("GET", f"/v1/actors/Aircraft/{quote(tail, safe='')}")
            states[tail] = decoder.decode(answer.body)

    await deliver((lane() for _ in range(LANES)), address)
    return states


def differences(states: Mapping[str, ActorState], expected: Mapping[str, Totals]) -> Iterator[str]:
    """Yield a line for each value of an aircraft that is not the expected one.

    The revision counts with them: each flight is one change, none is left out or made twice.
    """
    for tail in sorted(expected.keys() | states.keys()):
        if tail not in states or tail not in expected:
            yield f"{tail}: only {'expected' if tail in expected else 'stored'}"
            continue
        actor, totals = states[tail], expected[tail]
        if actor.revision != totals["flights"]:
            yield f"{tail}: revision is {actor.revision}, expected {totals['flights']}"
        for name, value in totals.items():
            found = getattr(actor.state, name)
            if found != value:
                yield f"{tail}: {name} is {found!r}, expected {value!r}"
