"""What `self` says of the command that runs."""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from eventstore.records import RequestNumber, UserKey
from examples.counter import Counter, Total
from spawn.core.commands import Command
from spawn.core.decision import Decision
from spawn.errors import ReplyGone
from spawn.sdk.actions import action
from spawn.sdk.actor import Actor
from spawn.sdk.behavior import ClassBehavior
from tests.unit.sdk.one_run import TIME_US, command, read, run

SEEN: dict[str, object] = {}
_TIME = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=TIME_US)


@dataclass(frozen=True)
class Empty:
    """A state."""


@dataclass(frozen=True)
class Open:
    """One state of two."""

    n: int = 0


@dataclass(frozen=True)
class Closed:
    """The other."""

    n: int = 0


class Curious(Actor[Empty]):
    """An actor that looks at everything."""

    @action
    def look(self) -> None:
        """Look."""
        SEEN.update(
            request_id=self.request_id,
            deadline=self.deadline,
            dice=[self.random.random(), self.random.randrange(100)],
        )

    @action
    def tell(self) -> None:
        """Log something."""
        self.log.info("told %s", "you", extra={"more": 1, "revision": -1})

    def on_activate(self) -> None:
        """Look where there is no command."""
        SEEN.update(request_id=self.request_id, deadline=self.deadline)
        self.log.warning("awake")


def look(
    sent: Command | None = None,
    *,
    actor_id: str = "a",
    revision: int = 3,
    time_us: int = TIME_US,
) -> None:
    """Run `look` of a command."""
    behavior = ClassBehavior(Curious)
    sent = sent or command(behavior, "look")
    assert isinstance(behavior.run("look", actor_id, Empty(), revision, time_us, sent), Decision)


def request_ids(*sent: Command, actor_id: str = "a") -> list[str]:
    """Run `look` of each command; return what it was told."""
    told = []
    for each in sent:
        look(each, actor_id=actor_id)
        told.append(str(SEEN["request_id"]))
    return told


def test_the_random_source_can_be_repeated() -> None:
    """By type, id, revision and time; within a run it goes on."""
    look()
    first = SEEN["dice"]
    look()
    assert SEEN["dice"] == first
    dice = random.Random(f"Curious/a/3/{TIME_US}")
    assert first == [dice.random(), dice.randrange(100)]
    look(revision=4)
    assert SEEN["dice"] != first
    look(time_us=TIME_US + 1)
    assert SEEN["dice"] != first


def test_the_request_id_is_the_same_in_every_run_of_a_command() -> None:
    """Of a number, of a key, or of the first run; two commands have two."""
    behavior = ClassBehavior(Curious)
    for more in (
        {"request": RequestNumber(b"\xab" * 16, 7, 1, 0)},
        {"key": UserKey(b"k" * 16, b"p" * 16), "key_text": "order-7"},
    ):
        told = request_ids(command(behavior, "look", **more), command(behavior, "look", **more))
        assert len(set(told)) == 1
    sent = command(behavior, "look")
    look(sent)
    first = SEEN["request_id"]
    look(sent, time_us=TIME_US + 50)
    assert SEEN["request_id"] == first
    look(command(behavior, "look"), time_us=TIME_US + 50)
    assert SEEN["request_id"] != first
    assert len(str(first)) == 32


def test_two_commands_never_share_a_request_id() -> None:
    """Sessions number per partition and keys belong to an actor: neither is enough by itself."""
    behavior = ClassBehavior(Curious)
    numbered = [
        command(behavior, "look", request=RequestNumber(bytes(15) + bytes([s]), n, 1, 0))
        for s in range(2)
        for n in (7, 8)
    ]
    keyed = [
        command(behavior, "look", key=UserKey(b"k" * 16, b"p" * 16), key_text=text)
        for text in ("order-7", f"{bytes(16).hex()}/7")
    ]
    told = request_ids(*numbered, *keyed)
    for sent in (*numbered, *keyed):
        sent.request_id = ""
    told += request_ids(*numbered, *keyed, actor_id="b")
    assert len(set(told)) == 12
    assert {len(each) for each in told} == {32}


def test_the_deadline_is_told_in_the_time_of_the_record() -> None:
    """It was begun at 10 s of the loop's clock and waits until 12.5 s."""
    behavior = ClassBehavior(Curious)
    sent = command(behavior, "look", begun=10.0)
    sent.deadline = 12.5
    look(sent)
    assert SEEN["deadline"] == _TIME + timedelta(seconds=2.5)
    sent.deadline = float("inf")
    look(sent)
    assert SEEN["deadline"] == datetime.max.replace(tzinfo=UTC)


def test_the_log_is_bound_to_the_run(caplog: pytest.LogCaptureFixture) -> None:
    """Its fields stand beside those of the call, which win."""
    with caplog.at_level(logging.INFO, "spawn.actor"):
        run(Curious, "tell", revision=3)
    (record,) = caplog.records
    assert (record.name, record.getMessage()) == ("spawn.actor.Curious", "told you")
    assert record.filename == "test_run.py"
    fields = vars(record)
    assert [fields[name] for name in ("actor", "action", "revision", "more")] == [
        "Curious/a", "tell", -1, 1,
    ]  # fmt: skip


async def test_where_there_is_no_command_nothing_is_asked_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In `on_activate`."""
    await ClassBehavior(Curious).on_activate("a", Empty(), 3)
    assert SEEN["request_id"] == ""
    assert SEEN["deadline"] == datetime.max.replace(tzinfo=UTC)
    assert vars(caplog.records[0])["action"] == "on_activate"


def test_every_type_has_a_query_of_its_state() -> None:
    """The state itself, with a signature of the type's own."""
    state = read(Counter, "get_state")
    assert state == Total(0)
    info = ClassBehavior(Counter).actions["get_state"]
    assert (info.read_only, info.signature) == (True, "get_state() -> Total")


def test_the_query_may_be_of_ones_own() -> None:
    """An action of that name replaces it; a plain method takes it away."""

    class Own(Counter):
        @action.read
        def get_state(self) -> Total:
            return Total(self.state.total * 2)

    class Without(Counter):
        def get_state(self) -> Total:  # type: ignore[override]
            return self.state

    assert ClassBehavior(Own).actions["get_state"].place.startswith("test_run.py:")
    assert "get_state" not in ClassBehavior(Without).actions


def test_a_state_that_json_can_not_tell_apart_is_told_all_the_same() -> None:
    """Out of the actor only: nothing ever reads it back."""

    class Door(Actor[Open | Closed]):
        @classmethod
        def initial(cls, actor_id: str, /) -> Open:
            return Open()

    behavior = ClassBehavior(Door)
    assert read(Door, "get_state") == Open()
    assert behavior.encode_reply("get_state", Closed(3)) == b'{"n":3}'
    with pytest.raises(ReplyGone, match=r"a state Open \| Closed can't be read from JSON"):
        behavior.decode_reply("get_state", b'{"n":3}')
