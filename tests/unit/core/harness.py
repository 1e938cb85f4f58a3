"""A log in memory and a minimal actor type, for tests of the pure core without asyncio."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from eventstore.codec import ClaimBody, encode_claim_body
from eventstore.records import Outcome, encode_claim
from eventstore.rows import Checkpoint
from spawn.core.actors import UNLOADED, Actor, Entry
from spawn.core.behavior import ActionInfo, SchemaUse, TypeDescription, TypeSettings
from spawn.core.commands import Command
from spawn.core.decision import Decision, EncodedState, EventData, Refusal
from spawn.core.keys import Keys
from spawn.core.partition import Limits, Partition
from spawn.core.tail import Base, fold_tail

FINGERPRINT = b"listtest"


class Stored(NamedTuple):
    """A record as the log gives it back."""

    offset: int
    key: bytes | None
    value: bytes | None


class FakeLog:
    """One partition's records."""

    def __init__(self) -> None:
        self.records: list[Stored] = []

    @property
    def end(self) -> int:
        return len(self.records)

    def append(self, records: Sequence[tuple[bytes | None, bytes]]) -> int:
        base = self.end
        for key, value in records:
            self.records.append(Stored(self.end, key, value))
        return base

    def read(self, start: int, end: int | None = None) -> list[Stored]:
        return self.records[start:end]


class Lists:
    """An actor type whose state is a tuple of the numbers that were added to it."""

    def __init__(self, settings: TypeSettings | None = None, name: str = "List") -> None:
        self.type = name
        self.settings = settings or TypeSettings()
        self.actions = {
            "add": ActionInfo("add", False, False, "add(n: int) -> int"),
            "nothing": ActionInfo("nothing", False, False, "nothing() -> None"),
            "refuse": ActionInfo("refuse", False, False, "refuse() -> None"),
            "all": ActionInfo("all", True, False, "all() -> list[int]"),
        }
        self.schemas: Sequence[SchemaUse] = ()
        self.has_on_activate = False

    def learn(self, known: Sequence[SchemaUse]) -> None:
        pass

    def meet(self, newer: Sequence[SchemaUse]) -> Sequence[str]:
        return ()

    def initial(self, actor_id: str) -> tuple[int, ...]:
        return ()

    def decode_arguments(self, action: str, payload: bytes) -> Any:
        return payload

    def run(
        self, action: str, actor_id: str, state: Any, revision: int, time_us: int, command: Command
    ) -> Decision:
        if action == "refuse":
            return Decision(Outcome.REJECTED, state, refusal=Refusal("no", "never"))
        if action == "nothing":
            return Decision(Outcome.UNCHANGED, state)
        number = int(command.payload)
        after = (*state, number)
        event = EventData("Added", FINGERPRINT, str(number).encode())
        reply = str(len(after)).encode()
        return Decision(Outcome.APPLIED, after, len(after), reply, (event,))

    def read(
        self, action: str, actor_id: str, state: Any, revision: int, time_us: int, command: Command
    ) -> Any:
        return list(state)

    def encode_reply(self, action: str, reply: Any) -> bytes:
        return str(reply).encode()

    def decode_reply(self, action: str, reply: bytes) -> Any:
        return json.loads(reply)

    async def on_activate(self, actor_id: str, state: Any, revision: int) -> None:
        pass

    def evolve(self, actor_id: str, state: Any, events: Sequence[EventData]) -> Any:
        return (*state, *(int(event.data) for event in events))

    def decode_state(self, encoded: EncodedState) -> Any:
        text = encoded.data.decode()
        return tuple(int(n) for n in text.split(",")) if text else ()

    def encode_state(self, state: Any) -> EncodedState:
        return EncodedState(FINGERPRINT, ",".join(str(n) for n in state).encode())

    def state_json(self, state: Any) -> bytes:
        return str(list(state)).encode()

    def event_json(self, event: EventData) -> bytes:
        return event.data

    def describe(self) -> TypeDescription:
        return TypeDescription("", {}, {}, {}, {})


class FakeStore:
    """A checkpoint and actors' rows, as one captured value."""

    def __init__(self) -> None:
        self.checkpoint: Checkpoint | None = None
        self.rows: dict[bytes, tuple[Any, int, int]] = {}

    def copy(self) -> FakeStore:
        other = FakeStore()
        other.checkpoint, other.rows = self.checkpoint, dict(self.rows)
        return other


def command(action: str, actor: str, number: int = 0, **more: Any) -> Command:
    """Return a command that nobody waits for."""
    payload = str(number).encode()
    return Command("List", actor.encode(), action, payload, payload, 1e9, **more)


class Owner:
    """A process that owns (or believes to own) the one partition of a log."""

    def __init__(self, log: FakeLog, store: FakeStore, dice: random.Random) -> None:
        self.log = log
        self.store = store
        self.dice = dice
        self.now_us = 1_000_000
        self.machine = Partition([Lists()], Limits())
        self.settled: list[Entry] = []
        self.flying: tuple[int, int] | None = None
        """(base, records) of an append that the log has and did not acknowledge yet."""

    def take_over(self) -> bool:
        self.flying = None
        self.machine = machine = Partition([Lists()], Limits())
        start = machine.restore(self.store.checkpoint, 0)
        machine.replay(self.log.read(start))
        self.claim()
        machine.replay(self.log.read(machine.fold.position))
        if machine.owned:
            machine.activate()
        return machine.owned

    def claim(self) -> int:
        claim = self.machine.claim(self.dice.randbytes(16), self.dice.randbytes(16))
        body = encode_claim_body(ClaimBody("test", bytes(16), "", "start"))
        return self.log.append([(None, encode_claim(claim, body))])

    def run(self, some: Command) -> None:
        if (
            some.request is not None
            and self.machine.recorded(some, some.request, self.now_us) is not None
        ):
            return
        actor = self.machine.arrive(some)
        self.load()
        self.start(actor or self.machine.residents.actor(some.type, some.id))

    def load(self) -> None:
        loads, self.machine.residents.loads = self.machine.residents.loads, []
        for actor in loads:
            self.load_one(actor)

    def load_one(self, actor: Actor) -> None:
        if actor.state is not UNLOADED:
            return
        behavior = actor.table.behavior
        state, revision, offset = self.store.rows.get(actor.id, ((), 0, 0))
        base = Base(state, revision, False)
        tail = actor.tail
        if tail is not None:
            base = fold_tail(behavior, actor.id.decode(), base, tail.records)
        keys: Keys | None = tail.bind_keys(None) if tail is not None else None
        self.machine.residents.loaded(actor, base, actor.offset or offset, keys)

    def start(self, actor: Actor) -> None:
        machine = self.machine
        while (some := machine.start(actor)) is not None:
            work = actor.work
            assert work is not None
            time_us = machine.time(self.now_us)
            behavior = actor.table.behavior
            decision = behavior.run(
                some.action, actor.id.decode(), work.state, work.revision, time_us, some
            )
            assert isinstance(decision, Decision)
            machine.decide(actor, some, decision, time_us)

    def resume(self) -> None:
        for actor in self.machine.resume():
            self.start(actor)

    def append(self) -> bool:
        """Append what is decided; True if it stood where it was expected."""
        self.send()
        return self.acknowledge()

    def send(self) -> None:
        """Hand the next batch to the log; its acknowledgement is on the way."""
        cut = self.machine.cut(0.0)
        if cut is not None:
            self.flying = (self.log.append(cut.records), len(cut.records))

    def acknowledge(self) -> bool:
        """Take the acknowledgement; True if the batch stood where it was expected."""
        if self.flying is None:
            return True
        (base, count), self.flying = self.flying, None
        settled = self.machine.acknowledged(base)
        if settled is None:
            position = max(self.machine.fold.position - 1, 0)
            settled = self.machine.observe(self.log.read(position, base + count))
        self.settled += settled
        resumable, self.machine.resumable = self.machine.resumable, []
        for actor in resumable:
            self.start(actor)
        return bool(settled)

    def evict(self) -> None:
        """Let every actor go that may go."""
        for actor in list(self.machine.residents.tables["List"].actors.values()):
            self.machine.residents.evict(actor)

    def flush(self, *, fails: bool = False) -> bool:
        machine, store = self.machine, self.store
        for actor in list(machine.residents.dirty):
            self.load_one(actor)
        capture = machine.residents.capture(machine.fold)
        stored = store.checkpoint.offset if store.checkpoint is not None else 0
        if fails or not capture.base <= stored < capture.checkpoint.offset:
            machine.residents.flush_failed(capture)
            return False
        for row in capture.actors:
            store.rows[row.actor.id] = (row.state, row.revision, row.offset)
        store.checkpoint = capture.checkpoint
        machine.residents.flushed(capture)
        return True

    def states(self) -> Mapping[bytes, Any]:
        """Return the committed state of every actor in memory that was ever changed."""
        for actor in self.machine.residents.tables["List"].actors.values():
            self.load_one(actor)
        return {
            actor.id: actor.state
            for actor in self.machine.residents.tables["List"].actors.values()
            if actor.revision
        }
