"""The short cut through a tail (`Fold.run`) says what judging record by record says.

Random logs: claims, rivals, zombies, repeats, gaps, releases, records cut short or not ours, times
that jump, types, keys, numbered requests; read in chunks of any size, from the start or from a
checkpoint.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore.errors import UnreadablePrefix
from eventstore.records import (
    NO_CLAIM,
    NO_PREVIOUS,
    Barrier,
    Cause,
    Claim,
    Commit,
    Flag,
    LinkNumber,
    Outcome,
    Release,
    RequestNumber,
    TimerFiring,
    UserKey,
    encode_barrier,
    encode_claim,
    encode_commit,
    encode_release,
)
from spawn.core.actors import Dirt
from spawn.core.checkpoint import capture_fold
from spawn.core.fold import Fold, LossDetected
from spawn.core.partition import Limits, Partition
from spawn.core.residents import TypeNotServed
from spawn.core.sessions import HORIZON_US
from tests.unit.core.harness import Lists, Stored

LOG_ID = b"L" * 16
BODY = b"f" * 8 + b"body"
START_US = 1_700_000_000_000_000
KINDS = (
    "claim", "rival", "release", "barrier", "again", "gap", "zombie", "ahead", "cut short",
    "not ours", "unknown kind", "key", "request", "message", "timer", "repeats", "state", "no key",
    "other type", "type not served", "hole",
)  # fmt: skip


@dataclass
class Writer:
    """Writes one log, mostly of valid commits, and knows the fence well enough for that."""

    dice: random.Random
    records: list[Stored] = field(default_factory=list)
    end: int = 0
    claim: bytes = NO_CLAIM
    epoch: int = 0
    next: int = 0
    released: bool = False
    older: list[bytes] = field(default_factory=list)
    time_us: int = START_US
    unreadable: list[int] = field(default_factory=list)
    jumps: float = 0.2
    """Which share of the commits has a time far from that of the one before."""

    def write(self, kind: str) -> None:
        dice = self.dice
        if kind == "claim":
            self.older.append(self.claim)
            self.put(None, self.encode_claim(self.claim, skips=tuple(self.unreadable)))
        elif kind == "rival":
            self.put(None, encode_claim(Claim(dice.randbytes(16), 1, b"?" * 16, LOG_ID), BODY))
        elif kind == "release":
            self.put(None, encode_release(Release(self.claim, self.epoch, self.next)))
            self.next += not self.released
            self.released = True
        elif kind == "barrier":
            self.put(None, encode_barrier(Barrier(self.claim, self.epoch)))
        elif kind == "again" and self.records:
            _, key, value = dice.choice(self.records)
            self.put(key, value)
        elif kind == "cut short":
            following = self.next
            of_kind = dice.choice(
                ("commit", "commit", "key", "request", "message", "timer", "repeats")
            )
            value = encode_commit(self.commit(of_kind), BODY)
            self.next = following
            self.unreadable.append(self.end)
            self.put(b"a", value[: -dice.choice((5, 6, 8, 12, 20, 40, 79))])
        elif kind == "unknown kind":
            self.unreadable.append(self.end)
            self.put(b"a", b"\xe5S" + bytes([dice.choice((1, 2)), 9]) + bytes(100))
        elif kind == "not ours":
            self.put(b"a", dice.choice((None, b"", b"\xe5", b"something else, long enough" * 4)))
        elif kind == "hole":
            self.end += dice.randrange(1, 3)
        else:
            self.put(
                None if kind == "no key" else dice.choice((b"a", b"b", b"c")),
                encode_commit(self.commit(kind), BODY),
            )

    def encode_claim(self, based_on: bytes, skips: tuple[int, ...] = ()) -> bytes:
        self.claim, self.epoch = self.dice.randbytes(16), self.epoch + 1
        self.next, self.released, self.unreadable = 0, False, []
        return encode_claim(Claim(self.claim, self.epoch, based_on, LOG_ID, skips), BODY)

    def put(self, key: bytes | None, value: bytes | None) -> None:
        self.records.append(Stored(self.end, key, value))
        self.end += 1

    def commit(self, kind: str) -> Commit:
        dice = self.dice
        if dice.random() < self.jumps:
            self.time_us += dice.choice((-1, 1)) * dice.choice((1, HORIZON_US, HORIZON_US + 2))
        self.time_us += dice.randrange(3)
        outcomes = [Outcome.APPLIED, Outcome.APPLIED, Outcome.UNCHANGED, Outcome.FAILED]
        flags, cause = 0, Cause.REQUEST
        request = link = timer = key = None
        repeats = 0
        if kind in ("request", "key") and dice.random() < 0.7:
            n = dice.randrange(6)
            issued = self.time_us + dice.choice((0, 0, -HORIZON_US, -HORIZON_US - 2))
            session = dice.choice((b"s", b"t")) * 16
            request = RequestNumber(session, n, dice.randrange(n + 1), issued)
            flags |= Flag.REQUEST | dice.choice((0, 0, 0, Flag.DURABLE))
            cause = dice.choice((Cause.REQUEST, Cause.REQUEST, Cause.OPERATOR))
        if kind == "key":
            key = UserKey(dice.choice((b"k", b"l")) * 16, b"p" * 16)
            flags |= Flag.KEY
        elif kind == "message":
            link, cause = LinkNumber(LOG_ID, dice.randrange(9)), Cause.MESSAGE
        elif kind == "timer":
            timer, cause = TimerFiring("tick", 1, 2), Cause.TIMER
        elif kind == "repeats":
            repeats, flags = 3, flags | Flag.REPEATS
        elif kind == "state":
            flags |= dice.choice((Flag.STATE, Flag.DELETED, Flag.STATE | 0x8000))
        claim, epoch, sequence = self.claim, self.epoch, self.next
        if kind == "gap":
            sequence += dice.choice((1, -1)) if sequence else 1
        elif kind == "zombie" and self.older:
            claim, epoch = dice.choice(self.older), max(epoch - 1, 0)
        elif kind == "ahead":
            claim, epoch = dice.choice((claim, b"!" * 16)), epoch + 1
            self.next += claim == self.claim and not self.released
        elif not self.released:
            self.next += 1
        types = {"other type": b"Other", "type not served": b"Lis"}
        return Commit(
            claim, epoch, sequence, dice.randrange(1, 9), self.time_us,
            dice.choice((NO_PREVIOUS, 1, -1)), dice.choice(outcomes), cause, flags,
            types.get(kind, b"List"), request, link, timer, key, repeats,
        )  # fmt: skip


@st.composite
def logs(draw: st.DrawFn) -> list[Stored]:
    """Return a log with commits and a few other kinds of records (swarm testing)."""
    writer = Writer(random.Random(draw(st.integers(0, 2**32))))
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=5, unique=True))
    usual = ["commit", "commit", "request"] * len(kinds)
    writer.write("claim")
    for kind in draw(st.lists(st.sampled_from([*usual, *kinds]), min_size=5, max_size=50)):
        writer.write(kind)
    return writer.records


def chunks(records: Sequence[Stored], sizes: Sequence[int]) -> Iterator[Sequence[Stored]]:
    start = 0
    for size in sizes:
        yield records[start : start + size]
        start += size
    yield records[start:]


def new_machine() -> Partition:
    machine = Partition([Lists(), Lists(name="Other")], Limits())
    machine.restore(None, 0)
    return machine


def by_steps(machine: Partition, records: Sequence[Stored]) -> None:
    """Replay without the short cut."""
    with patch.object(Fold, "run", lambda *_: ()):
        machine.replay(records)


def picture(machine: Partition) -> dict[str, Any]:
    """Return all that a replay changes."""
    fold, fence = machine.fold, machine.fold.fence
    return {
        "fence": (fence.claim, fence.epoch, fence.log_id, fence.next, fence.released),
        "fold": (fold.position, fold.anchor, fold.time_us, fold.foreign),
        "sessions": {name: repr(session) for name, session in fold.sessions.by_id.items()},
        "forgettable": sorted(name for _, name in fold.sessions._by_age),
        "displaces": machine.displaces_live_claim,
        "dirty": [(actor.table.name, actor.id) for actor in machine.residents.dirty],
        "actors": actors(machine),
    }


def actors(machine: Partition) -> dict[tuple[bytes, bytes], Any]:
    return {
        (table.name, actor.id): (
            actor.revision,
            actor.offset,
            actor.tail and (actor.tail.needs_base, actor.tail.records, actor.tail.keys or []),
        )
        for table in machine.residents.tables.values()
        for actor in table.actors.values()
    }


def expected(records: Sequence[Stored], sizes: Sequence[int]) -> dict[tuple[bytes, bytes], Any]:
    """Return the same by its definition, from the commits that `Fold.step` returns."""
    fold, found = Fold(0), dict[tuple[bytes, bytes], list[tuple[Commit, Stored]]]()
    for chunk in chunks(records, sizes):
        for index, stored in enumerate(chunk):
            commit = fold.step(stored, chunk, index)
            if commit is not None and stored.key is not None:
                found.setdefault((commit.type, stored.key), []).append((commit, stored))
    return {name: _expected_actor(of_actor) for name, of_actor in found.items()}


def _expected_actor(found: Sequence[tuple[Commit, Stored]]) -> Any:
    applied = [pair for pair in found if pair[0].outcome == Outcome.APPLIED]
    whole = [n for n, (c, _) in enumerate(applied) if c.flags & (Flag.STATE | Flag.DELETED)]
    needed = applied[whole[-1] if whole else 0 :]
    last, stored = found[-1]
    return (
        last.revision,
        stored.offset,
        (
            found[0][0].previous != NO_PREVIOUS,
            [(stored.offset, stored.value) for _, stored in needed],
            [(c.key, stored.offset, c.time_us) for c, stored in found if c.key is not None],
        ),
    )


STOPS = (LossDetected, UnreadablePrefix, TypeNotServed)


@settings(max_examples=500, deadline=None)
@given(logs(), st.lists(st.integers(1, 20), max_size=8))
def test_the_short_cut_says_what_judging_one_by_one_says(
    records: list[Stored], sizes: list[int]
) -> None:
    """Fold, actors, dirty actors, and where and why it stops: all equal after each chunk."""
    short, steps = new_machine(), new_machine()
    for chunk in chunks(records, sizes):
        stopped = None
        try:
            by_steps(steps, chunk)
        except STOPS as error:
            stopped = error
        if stopped is None:
            short.replay(chunk)
        else:
            with pytest.raises(type(stopped)) as raised:
                short.replay(chunk)
            assert str(raised.value) == str(stopped)
        assert picture(short) == picture(steps)
        if stopped is not None:
            return
    assert actors(short) == expected(records, sizes)
    dirty = short.residents.dirty
    assert len(dirty) == len(actors(short)) == len(set(dirty))
    assert all(actor.dirt is Dirt.DIRTY for actor in dirty)


@settings(max_examples=200, deadline=None)
@given(logs(), st.integers(1, 49), st.sampled_from(["itself", "another", "the next one"]))
def test_the_short_cut_goes_on_from_a_checkpoint(
    records: list[Stored], at: int, before: str
) -> None:
    """The record before it is compared with the anchor, not folded; another one there is loss."""
    first = new_machine()
    try:
        by_steps(first, records[:at])
    except STOPS:
        return
    checkpoint = capture_fold(first.fold)
    short, steps = new_machine(), new_machine()
    start = short.restore(checkpoint, 0)
    assert steps.restore(checkpoint, 0) == start
    again = [stored for stored in records if stored.offset >= start]
    if before == "another" and again:
        again[0] = again[0]._replace(value=b"something else")
    elif before == "the next one" and len(again) > 1:
        again[0] = again[0]._replace(value=again[1].value)
    ends = []
    for replay in (short.replay, lambda chunk: by_steps(steps, chunk)):
        try:
            replay(again)
            ends.append("")
        except STOPS as error:
            ends.append(f"{type(error)} {error}")
    assert ends[0] == ends[1]
    assert picture(short) == picture(steps)


def test_a_tail_takes_the_short_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is no commit of the current claim is judged by itself."""
    writer = Writer(random.Random(1), jumps=0)
    for kind in ("claim", *["commit", "key", "request", "state", "other type", "no key"] * 20):
        writer.write(kind)
    judged: list[int] = []
    step = Fold.step

    def noting_step(fold: Fold, stored: Stored, *place: Any) -> Commit | None:
        judged.append(stored.offset)
        return step(fold, stored, *place)

    monkeypatch.setattr(Fold, "step", noting_step)
    machine = new_machine()
    machine.replay(writer.records)
    assert judged == [0]
    assert machine.fold.position == 121
