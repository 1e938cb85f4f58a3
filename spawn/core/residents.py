"""The actors of a partition that are in memory, and how they differ from the store (pure).

Every actor met in the tail at take-over, in a gap or by a commit is *dirty* until a flush that
captured it stands in the store; only clean and idle actors may leave memory (log protocol 4).
Capture is by reference and in one step: states are immutable.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from eventstore.errors import UnreadableBody
from eventstore.records import NO_PREVIOUS, Commit, StoredRecord
from eventstore.rows import Checkpoint
from spawn.core.actors import UNLOADED, Actor, Dirt, Table, Work
from spawn.core.behavior import Behavior
from spawn.core.checkpoint import capture_fold
from spawn.core.commands import Command
from spawn.core.fold import Fold, TailRecord
from spawn.core.keys import BoundKey, Keys
from spawn.core.tail import Base, Tail
from spawn.errors import ActorParked, SpawnError

__all__ = ["HISTORY_MAX", "Capture", "Captured", "Residents", "TypeNotServed"]


HISTORY_MAX: Final = 10_000
"""States kept for time travel that no flush has written yet, the oldest dropped; as many as a busy
partition makes in ten seconds. The log has every revision, so a missing one costs a longer walk."""


class TypeNotServed(Exception):
    """The partition holds commits of a type whose code is not here."""

    def __init__(self, actor_type: str, offset: int) -> None:
        super().__init__(
            f"it holds commits of type {actor_type} (offset {offset}), which this node does not "
            "serve"
        )


class Captured(NamedTuple):
    """One changed actor as committed below the checkpoint; by reference, states are immutable."""

    actor: Actor
    revision: int
    offset: int
    deleted: bool
    state: object
    tail: Tail | None
    keys: Mapping[bytes, BoundKey]
    dropped_keys: Sequence[bytes]


class Capture(NamedTuple):
    """All that a flush writes: checkpoint and changed actors of one instant."""

    checkpoint: Checkpoint
    base: int
    actors: Sequence[Captured]
    history: Sequence[tuple[Actor, int, int, object]]
    """(actor, revision, offset, state) of revisions kept for time travel."""


class Residents:
    """All actors of one partition that are in memory."""

    def __init__(self, behaviors: Iterable[Behavior]) -> None:
        self.tables = {behavior.type: Table(behavior) for behavior in behaviors}
        self.by_name = {table.name: table for table in self.tables.values()}
        self.busy: dict[Actor, None] = {}
        """Actors that have commands or reads, running, waiting or uncommitted; in the order in
        which they got busy, so that a simulation can be repeated."""
        self.loads: list[Actor] = []
        """Output: actors to be loaded; the runtime takes the list away."""
        self.dirty: list[Actor] = []
        self.history: deque[tuple[Actor, int, int, object]] = deque(maxlen=HISTORY_MAX)
        """(actor, revision, offset, state) of revisions to be kept for time travel."""
        self._flushing = 0
        self.base = 0
        """The offset from which the set of dirty actors is complete: the last checkpoint's X."""
        self.all_in_memory = False
        """Every actor ever written is in memory, so an unknown one was never written."""
        self.tick = 0
        """Seconds since the start, set by the runtime; actors remember when they were used last."""

    @property
    def changed(self) -> int:
        """How many actors no flush has written as they are.

        One that changes again during a flush counts twice.
        """
        return len(self.dirty) + self._flushing

    def __len__(self) -> int:
        return sum(len(table.actors) for table in self.tables.values())

    def actor(self, actor_type: str, actor_id: bytes) -> Actor:
        """Return the actor in memory, made if it was not there."""
        table = self.tables[actor_type]
        actor = table.actors.get(actor_id)
        if actor is None:
            actor = table.actors[actor_id] = Actor(table, actor_id)
            if self.all_in_memory and not table.behavior.has_on_activate:
                try:
                    actor.state = table.behavior.initial(actor_id.decode())
                except UnreadableBody as error:
                    actor.parked = ActorParked(str(error), at=actor.name)
                else:
                    actor.asleep = False
        actor.touched = self.tick
        return actor

    def add_to_tail(self, commit: Commit, stored: StoredRecord) -> None:
        """Take a valid commit that was read from the log; its actor is dirty."""
        table = self.by_name.get(commit.type)
        if table is None:
            # A checkpoint behind its commits would lose them for who serves the type later.
            raise TypeNotServed(commit.type.decode(), stored.offset)
        key, offset, value = stored.key, stored.offset, stored.value
        if value is not None:
            of_actor = commit.revision, commit.previous, commit.time_us
            rest = commit.outcome, commit.flags, commit.key
            self.add_run(((table, key, offset, value, *of_actor, *rest),))

    def add_run(self, run: Iterable[TailRecord[Table]]) -> None:
        """Take the records that `Fold.run` returned; their actors are dirty."""
        clean = Dirt.CLEAN  # looked up once: it costs as much as the rest of its line
        for (
            table, key, offset, value, revision, previous, time_us, outcome, flags, bound,
        ) in run:  # fmt: skip
            if key is None:
                continue
            actor = table.actors.get(key)
            if actor is None:
                actor = table.actors[key] = Actor(table, key)
            tail = actor.tail
            if tail is None:
                tail = actor.tail = Tail(previous)
            tail.add(offset, value, outcome, flags)
            if bound is not None:
                tail.add_key(bound, offset, time_us)
            actor.revision, actor.offset = revision, offset
            if actor.dirt is clean:
                actor.dirt = Dirt.DIRTY
                self.dirty.append(actor)

    def want(self, actor: Actor, work: Work) -> None:
        """Ask for the actor to be loaded, once."""
        if not work.loading:
            work.loading = True
            self.loads.append(actor)

    def loaded(self, actor: Actor, base: Base, offset: int, keys: Keys | None) -> None:
        """Take an actor's rebuilt state; `offset` is of its last record (NO_PREVIOUS: none).

        An actor with `on_activate` stays asleep until it is `woken`.
        """
        state = base.state
        if base.deleted or base.revision == 0:
            state = actor.table.behavior.initial(actor.id.decode())
        actor.state, actor.revision, actor.deleted = state, base.revision, base.deleted
        actor.offset = offset if offset != NO_PREVIOUS else actor.offset
        actor.keys = keys
        actor.tail = None
        if (work := actor.work) is not None:
            work.reset(actor)
        if not actor.table.behavior.has_on_activate:
            self.woken(actor)

    def woken(self, actor: Actor) -> None:
        """A loaded actor was told that it is in memory: its commands and reads may run."""
        actor.asleep = False
        if actor.work is not None:
            actor.work.loading = False

    def load_failed(self, actor: Actor) -> Sequence[Command]:
        """The actor could not be loaded this time: return the commands and reads that waited."""
        return self._drop_work(actor)

    def store_went_back(self, offset: int, lost: Sequence[tuple[Commit, StoredRecord]]) -> None:
        """The store shows the checkpoint at `offset`, older than what was relied on.

        `lost` are the valid commits from there to where the dirty actors were complete. Their
        actors are dirty again; of those not in memory the records are their tail.
        """
        tails: dict[int, tuple[Actor, Tail]] = {}
        for commit, stored in lost:
            table, key, value = self.by_name.get(commit.type), stored.key, stored.value
            if table is None or key is None or value is None:
                continue
            actor = table.actors.get(key)
            if actor is None:
                actor = table.actors[key] = Actor(table, key)
            if actor.dirt is Dirt.CLEAN:
                actor.dirt = Dirt.DIRTY
                self.dirty.append(actor)
            if actor.state is not UNLOADED:
                actor.save_key_again(commit)
                continue
            if id(actor) not in tails:
                tails[id(actor)] = (actor, Tail(commit.previous))
            tail = tails[id(actor)][1]
            tail.add(stored.offset, value, commit.outcome, commit.flags)
            if commit.key is not None:
                tail.add_key(commit.key, stored.offset, commit.time_us)
            if stored.offset > actor.offset:
                actor.revision, actor.offset = commit.revision, stored.offset
        for actor, tail in tails.values():
            if actor.tail is not None:
                tail.extend(actor.tail)
            actor.tail = tail
        self.base = offset

    def park(self, actor: Actor, reason: SpawnError) -> Sequence[Command]:
        """The actor's state can't be rebuilt: return the commands and reads that wait for it."""
        actor.parked = reason
        return self._drop_work(actor)

    def _drop_work(self, actor: Actor) -> Sequence[Command]:
        work, actor.work = actor.work, None
        self.busy.pop(actor, None)
        return () if work is None else [*work.mailbox, *work.reads]

    def capture(self, fold: Fold) -> Capture:
        """Return checkpoint and changed actors of this instant; committed state only."""
        dirty, self.dirty = self.dirty, []
        history, self.history = self.history, deque(maxlen=HISTORY_MAX)
        self._flushing = len(dirty)
        captured = []
        for actor in dirty:
            actor.dirt = Dirt.FLUSHING
            fresh: Mapping[bytes, BoundKey] = {}
            dropped: Sequence[bytes] = ()
            keys = actor.keys
            if actor.state is UNLOADED and actor.tail is not None:
                keys = actor.tail.bind_keys(None)  # parked: what the tail binds must not be lost
            if keys is not None and (keys.unsaved or keys.dropped):
                fresh, keys.unsaved = keys.unsaved, {}
                dropped, keys.dropped = keys.dropped, []
            captured.append(
                Captured(
                    actor,
                    actor.revision,
                    actor.offset,
                    actor.deleted,
                    actor.state,
                    actor.tail,
                    fresh,
                    dropped,
                )
            )
        return Capture(capture_fold(fold), self.base, captured, list(history))

    def flushed(self, capture: Capture) -> None:
        """The capture stands in the store."""
        self.base = capture.checkpoint.offset
        self._flushing = 0
        for captured in capture.actors:
            if captured.actor.dirt is Dirt.FLUSHING:
                captured.actor.dirt = Dirt.CLEAN

    def flush_failed(self, capture: Capture) -> None:
        """The capture does not stand in the store (or nobody knows): its actors stay dirty."""
        self._flushing = 0
        for captured in capture.actors:
            actor = captured.actor
            if captured.keys or captured.dropped_keys:
                keys = actor.keys = actor.keys or Keys()
                keys.unsaved = {
                    key: bound for key, bound in captured.keys.items() if key in keys.bound
                } | keys.unsaved
                keys.dropped = [*captured.dropped_keys, *keys.dropped]
            if actor.dirt is Dirt.FLUSHING:
                actor.dirt = Dirt.DIRTY
                self.dirty.append(actor)
        self.history = deque([*capture.history, *self.history], maxlen=HISTORY_MAX)

    def evict(self, actor: Actor) -> bool:
        """Let an idle actor go whose state is in the store; tell whether it went."""
        if actor.work is not None or actor.dirt is not Dirt.CLEAN:
            return False
        was_written = actor.offset != NO_PREVIOUS
        if actor.parked is not None and was_written:
            return False
        # One that was never written may be parked for a wrong id: it is parked again when used.
        del actor.table.actors[actor.id]
        if was_written:
            self.all_in_memory = False
        return True

    def busy_with(self, actor: Actor) -> Work:
        """Return what a busy actor has besides, made for an idle one."""
        work = actor.work = Work(actor.state, actor.revision, actor.deleted)
        self.busy[actor] = None
        return work

    def release_work(self, actor: Actor) -> None:
        """Let an actor be idle again if nothing keeps it busy."""
        work = actor.work
        if work is not None and work.idle:
            actor.work = None
            self.busy.pop(actor, None)
