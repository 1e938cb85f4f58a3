"""Random interleavings of owners on one log: every reader agrees, nothing acknowledged is lost.

Several processes claim, commit, flush, freeze with a batch on the way, thaw, recover and crash, in
any order; batches land late, twice, or with their acknowledgement lost. The number that each
command adds is unique, so a state tells which commands took effect, how often and in what order.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore.records import Commit, Outcome, RequestNumber, decode_prefix
from spawn.core.commands import Command
from spawn.core.fold import Fold
from spawn.core.partition import Append, Phase
from spawn.errors import RequestSettled
from tests.unit.core.harness import FakeLog, FakeStore, Owner, command

pytestmark = pytest.mark.timeout(120)

ACTORS = ("a", "b", "c")
SESSION = bytes(range(16))


def fold_from_start(log: FakeLog) -> dict[bytes, tuple[int, ...]]:
    """Return all actors' states as a reader sees them who knows nothing but the log."""
    reader = Owner(log, FakeStore(), random.Random(0))
    reader.machine.restore(None, 0)
    reader.machine.replay(log.read(0))
    return dict(reader.states())


class World:
    """Three processes, one log, one store; one step at a time."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.log = FakeLog()
        self.store = FakeStore()
        self.older = FakeStore()
        self.owners = [Owner(self.log, self.store, dice) for _ in range(3)]
        self.late: list[Append] = []
        self.number = 0
        self.acknowledged: list[int] = []
        self.unanswered: dict[int, Command] = {}
        """Numbered requests of one client that it may send again."""

    def step(self, action: str) -> None:
        current = [some for some in self.owners if self.is_current(some)]
        flying = [some for some in self.owners if some.flying is not None]
        owner = self.dice.choice(self.owners + 4 * current + 4 * flying)
        active = owner.machine.phase is Phase.ACTIVE and owner.machine.owned
        if action == "take over":
            self.forget(owner)
            owner.take_over()
        elif action == "late":
            if self.late:
                self.log.append(self.late.pop(self.dice.randrange(len(self.late))).records)
        elif action == "put back":
            self.store.checkpoint, self.store.rows = self.older.checkpoint, dict(self.older.rows)
            for reader in self.owners:  # who relies on more re-reads; here it starts again
                self.forget(reader)
                reader.machine.phase = Phase.STOPPED
        elif not active:
            return
        elif action == "command":
            self.number += 1
            kind = self.dice.choice(("add", "add", "add", "nothing", "refuse"))
            some = command(kind, self.dice.choice(ACTORS), self.number)
            if self.dice.random() < 0.5:
                self.unanswered[self.number] = some
                low = min(self.unanswered)
                some.request = RequestNumber(SESSION, self.number, low, owner.now_us)
            owner.run(some)
        elif action == "again":
            if self.unanswered:
                some = self.dice.choice(list(self.unanswered.values()))
                with suppress(RequestSettled):
                    owner.run(msgspec.structs.replace(some, joined=None, started=False))
        elif action == "give up":
            if self.unanswered:
                del self.unanswered[min(self.unanswered)]
        elif action == "flush":
            self.older = self.store.copy()
            owner.flush()
        elif action == "flush fails":
            owner.flush(fails=True)
        elif action == "evict":
            owner.evict()
        elif action == "acknowledge":
            owner.acknowledge()
        elif owner.machine.pending and owner.flying is None:
            self.append(owner, action)
        self.collect(owner)

    def is_current(self, owner: Owner) -> bool:
        machine = owner.machine
        return machine.phase is Phase.ACTIVE and machine.fold.position == self.log.end

    def append(self, owner: Owner, how: str) -> None:
        if how == "append":
            owner.append()
            return
        if how == "send":
            owner.send()
            return
        cut = owner.machine.cut(0.0)
        assert cut is not None
        if how == "acknowledgement lost":
            self.log.append(cut.records)
        elif how == "batch late":
            self.late.append(cut)
        elif how == "batch twice":
            self.log.append(cut.records)
            self.late.append(cut)
        owner.machine.lost()
        end = owner.claim() + 1
        owner.settled += owner.machine.observe(
            self.log.read(max(owner.machine.fold.position - 1, 0), end)
        )
        if owner.machine.phase is not Phase.FENCED:
            owner.resume()

    def forget(self, owner: Owner) -> None:
        """The process crashes or starts again: what it did not answer has no outcome."""
        self.collect(owner)
        owner.settled = []

    def collect(self, owner: Owner) -> None:
        for entry in owner.settled:
            if self.dice.random() < 0.5:  # else the answer is lost on its way
                self.unanswered.pop(int(entry.command.payload), None)
            if entry.decision.outcome is Outcome.APPLIED:
                self.acknowledged.append(int(entry.command.payload))
        owner.settled = []


KINDS = (
    "take over", "flush", "flush fails", "evict", "late", "acknowledgement lost",
    "batch late", "batch twice", "batch lost", "put back", "again",
    "give up",
)  # fmt: skip


@st.composite
def plans(draw: st.DrawFn) -> list[str]:
    """Return steps of a few kinds only: each run has a mixture of its own (swarm testing).

    With what always happens: commands, also while a batch is on its way.
    """
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4, unique=True))
    usual = ["command", "append", "send", "acknowledge"]
    return draw(st.lists(st.sampled_from([*usual, *kinds]), min_size=20, max_size=60))


def play(seed: int, steps: Sequence[str]) -> World:
    world = World(random.Random(seed))
    world.step("take over")
    for step in steps:
        world.step(step)
        check(world)
    return world


def check(world: World) -> None:
    states = fold_from_start(world.log)
    effects = [number for state in states.values() for number in state]
    assert len(effects) == len(set(effects)), "a command took effect twice"
    assert len(world.acknowledged) == len(set(world.acknowledged)), "a command was answered twice"
    assert set(world.acknowledged) <= set(effects), "an acknowledged command is not there"
    for owner in world.owners:
        machine = owner.machine
        at_end = machine.fold.position == world.log.end
        up_to_date = machine.phase is Phase.ACTIVE and at_end and owner.flying is None
        if up_to_date and machine.owned:
            for name in states:
                owner.load_one(machine.residents.actor("List", name))
            assert dict(owner.states()) == states, "the owner's memory differs from the log"


def checkpoint_and_tail(world: World) -> dict[bytes, tuple[int, ...]]:
    """Return all states from the store's rows and the records behind its checkpoint."""
    reader = Owner(world.log, world.store, random.Random(0))
    start = reader.machine.restore(world.store.checkpoint, 0)
    reader.machine.replay(world.log.read(start))
    states = dict(reader.states())
    for key, (state, revision, _) in world.store.rows.items():
        if revision and key not in states:
            states[key] = state
    return states


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), plans())
def test_all_readers_agree_and_nothing_acknowledged_is_lost(seed: int, steps: list[str]) -> None:
    """Whatever interleaving: one history, each command at most once, acknowledged ones exactly."""
    world = play(seed, steps)
    assert checkpoint_and_tail(world) == fold_from_start(world.log)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), plans())
def test_back_pointers_lead_through_exactly_the_valid_records(seed: int, steps: list[str]) -> None:
    """Walking back from an actor's last record meets every valid one of it, and nothing else."""
    log = play(seed, steps).log
    fold, valid = Fold(), dict[bytes | None, list[int]]()
    for index, stored in enumerate(log.records):
        if fold.step(stored, log.records, index) is not None:
            valid.setdefault(stored.key, []).append(stored.offset)
    for key, offsets in valid.items():
        offset, walked = offsets[-1], []
        while offset:
            walked.append(offset)
            commit = decode_prefix(log.records[offset].value)
            assert isinstance(commit, Commit)
            previous = commit.previous
            offset = offset + previous if previous < 0 else previous
        assert walked[::-1] == offsets, f"back pointers of {key!r}"
