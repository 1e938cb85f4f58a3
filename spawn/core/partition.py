"""A partition as a state machine without I/O, clock or randomness (pure; log protocol 3 to 7).

The runtime moves bytes and time between it and the world; a simulation drives many of them. The
methods are the inputs, what they return is the output:

    take-over   restore -> replay* -> claim -> replay -> owner?         phase TAKING_OVER -> ACTIVE
    commands    arrive -> start -> (user code) -> decide -> cut -> acknowledged -> settled entries
    reads       read -> (now, or after an append: readable)
    trouble     lost -> claim -> observe -> resume                      phase RECOVERING -> ACTIVE
                observe: a foreign claim                                phase FENCED

What is in memory of each actor, and the flush behind it, is `residents`' matter.

One append is in flight at a time; what arrives meanwhile forms the next batch. An actor's next
command runs on its uncommitted state; `acknowledged` and `observe` are the only places where
anything becomes committed, and nothing is told to anybody before.

Over 400 lines: the rules of the commit path stand in one place.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from eventstore.codec import encode_commit_body
from eventstore.records import (
    NO_CLAIM,
    SECTION_CAUSES,
    SECTION_FLAGS,
    Barrier,
    Claim,
    Commit,
    Flag,
    Outcome,
    Release,
    RequestNumber,
    StoredRecord,
    encode_barrier,
    encode_commit,
    encode_release,
    encode_sections,
)
from eventstore.rows import Checkpoint
from spawn.core.actors import Actor, Dirt, Entry, Work
from spawn.core.behavior import Behavior
from spawn.core.checkpoint import restore_fold
from spawn.core.commands import Command
from spawn.core.decision import Decision, Refusal
from spawn.core.fold import Fold, LossDetected, read_mark
from spawn.core.keys import BoundKey, Keys
from spawn.core.residents import Residents
from spawn.core.sessions import Arrival, Sessions
from spawn.errors import (
    InvalidHeader,
    MailboxFull,
    RequestSettled,
    RequestTooOld,
    StoreUnreachable,
    TooManyKeys,
    TooManySessions,
    TooManyWaiting,
)

__all__ = ["LEASE_S", "WAIT_S", "Append", "Limits", "Partition", "Phase"]

LEASE_S: Final = 0.25
"""L: how long reads rest on an acknowledged append; a constant, never a setting (protocol 6)."""
WAIT_S: Final = 1.1 * LEASE_S
"""How long a new owner that displaced a live claim tells nobody anything; 10 % covers clocks of
different rate."""


_BATCH_BYTES: Final = 64
"""What it adds to a batch."""
_ISSUED_AHEAD_US: Final = 3_600 * 1_000_000
"""How far a request's `issued` may be ahead of the partition's time: the horizon never goes back,
so a request from a clock that is wrong by days would be remembered for days."""


class Phase(enum.Enum):
    """Where a partition stands on its node."""

    TAKING_OVER = "taking-over"
    ACTIVE = "active"
    RECOVERING = "recovering"
    """An append's outcome is unknown; nothing runs until a new claim of ours is read."""
    RELEASED = "released"
    FENCED = "fenced"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one partition."""

    batch_bytes_max: int = 1024 * 1024
    """A batch is cut before it grows over this, keys and prefixes included, so that latency stays
    bounded and brokers with Kafka's default limit take it; one larger commit goes alone."""
    batch_records_max: int = 4096
    commit_bytes_max: int = 6 * 1024 * 1024
    """Of one record; the topic's limit is 8 MiB."""
    uncommitted_max: int = 20_000
    """Commands run and not acknowledged; above it calls are refused until the log keeps up."""
    sessions_max: int = 20_000
    """Sessions of numbered requests; a request of one more is refused until one is forgotten."""
    session_numbers_max: int = 1_000_000
    """Done numbers of all sessions (some 100 bytes each); above it numbered requests are refused
    until their clients settle some or the horizon passes."""

    dirty_max: int = 200_000
    """Changed actors that no flush has written; they can't leave memory. Above it commands to
    further actors are refused until the store takes some."""


class Append(NamedTuple):
    """One batch for the log: (key, value) pairs, and whether it is a mere Barrier."""

    records: Sequence[tuple[bytes | None, bytes]]
    is_barrier: bool
    body_bytes: int = 0
    """Of its commits, without their prefixes."""


class Partition:
    """The state machine of one partition. Not thread-safe; every method returns at once."""

    def __init__(self, behaviors: Iterable[Behavior], limits: Limits) -> None:
        self.limits = limits
        self.phase = Phase.TAKING_OVER
        self.fold = Fold()
        self.residents = Residents(behaviors)
        self.mine = NO_CLAIM
        """The claim under which records are written."""
        self.claims: set[bytes] = set()
        """Every claim that this process tried on this partition."""
        self.holds = False
        """No further command is started: the partition is about to be handed over."""
        self.resumable: list[Actor] = []
        """Output: actors that may start their next command now."""
        self.pending: list[Entry] = []
        self.inflight: list[Entry] = []
        self._pending_bytes = 0
        self._batch_bytes_max = limits.batch_bytes_max - _BATCH_BYTES
        """Lowered when the log refuses a batch as too large."""
        self._time_us = 0
        self._batch = 0
        self._started = 0.0
        self._lease_from = float("-inf")
        self.reads: list[Command] = []
        """Reads that wait for an append which starts after their arrival."""
        self._inflight_reads: list[Command] = []
        self.barrier_wanted = False
        """Append a Barrier even if nobody reads: somebody doubts that the claim still holds."""
        self._appending = False
        self._observed: list[Entry] = []
        """Own entries found valid by an `observe` that then stopped: the next one returns them."""
        self._barrier_met = False
        self._landed_at = -1
        """Where the log says that the append in flight begins, while what is before it is read."""
        self.displaces_live_claim = False
        """Our claim ended one not released: its owner's lease may still run (protocol 6)."""
        self.commits = 0
        self.batches = 0
        self.barriers = 0

    # --- take-over -------------------------------------------------------------------------------

    def restore(self, checkpoint: Checkpoint | None, log_start: int) -> int:
        """Begin a take-over; return the offset to read from.

        That is one before the checkpoint's X, so that its anchor can be compared (protocol 11).
        """
        if checkpoint is None:
            self.fold = Fold(log_start)
            self.residents.all_in_memory = log_start == 0
            self.residents.base = 0
            return log_start
        self.fold = restore_fold(checkpoint)
        self.residents.base = checkpoint.offset
        return max(checkpoint.offset - 1, log_start)

    def replay(self, records: Sequence[StoredRecord]) -> None:
        """Read on in the log: the tail, and after the append of our claim up to it.

        Raises: LossDetected, UnreadablePrefix.
        """
        fold, residents = self.fold, self.residents
        index = 0
        while index < len(records):
            if run := fold.run(records, index, residents.by_name):
                residents.add_run(run)
                index += len(run)
                continue
            stored = records[index]
            if stored.offset < fold.position:
                self._verify_anchor(stored)
            else:
                claim, released = fold.fence.claim, fold.fence.released
                commit = fold.step(stored, records, index)
                if commit is not None:
                    residents.add_to_tail(commit, stored)
                elif fold.fence.claim != claim:
                    self.displaces_live_claim = claim != NO_CLAIM and not released
            index += 1

    def _verify_anchor(self, stored: StoredRecord) -> None:
        """Compare a record read again with what it was when it was folded (protocol 11)."""
        if stored.offset == self.fold.position - 1 and read_mark(stored) != self.fold.anchor:
            raise LossDetected(
                f"the record at offset {stored.offset} is not the one that was read there before"
            )

    def claim(self, claim_id: bytes, new_log_id: bytes) -> Claim:
        """Return the claim to append: on the current one, with its log id (a first one: new)."""
        fence = self.fold.fence
        self.claims.add(claim_id)
        return Claim(
            claim_id,
            fence.epoch + 1,
            fence.claim,
            fence.log_id if fence.claim != NO_CLAIM else new_log_id,
        )

    @property
    def owned(self) -> bool:
        """Tell whether the current claim, as far as the log was read, is one of ours."""
        return self.fold.fence.claim in self.claims

    def activate(self) -> None:
        """Our claim is current: from here on commands run."""
        assert self.owned, "only the current claim's owner may write"
        self.mine = self.fold.fence.claim
        self._time_us = self.fold.time_us
        self._lease_from = float("-inf")
        self.phase = Phase.ACTIVE

    # --- commands --------------------------------------------------------------------------------

    def recorded(self, command: Command, request: RequestNumber, now_us: int) -> int | None:
        """Judge a numbered request that arrives (protocol 7, Arrival), before `arrive`.

        Returns the offset of its record if it is done: the outcome stands there. None: to be run.

        Raises: RequestSettled, RequestTooOld, InvalidHeader, TooManySessions.
        """
        sessions = self.fold.sessions
        session = sessions.by_id.get(request.session)
        if (
            session is not None
            and request.n >= session.low
            and request.n not in session.done
            and self.fold.horizon_us <= request.issued_us <= now_us + _ISSUED_AHEAD_US
            and sessions.numbers < self.limits.session_numbers_max
        ):
            return None  # the usual case, written out; what follows comes to the same
        actor = self.residents.actor(command.type, command.id)
        match sessions.arrival(request, False, self.fold.horizon_us):
            case Arrival.DONE:
                return sessions.by_id[request.session].done[request.n]
            case Arrival.DROP | Arrival.SETTLED:
                raise RequestSettled(
                    f"request {request.n} is below the number from which its session still waits",
                    at=actor.name,
                )
            case Arrival.TOO_OLD if actor.work is None or (
                actor.work.request_in_flight(request) is None
            ):
                raise RequestTooOld(
                    f"request {request.n} was issued more than 15 minutes ago; whether it was "
                    "executed is no longer known",
                    at=actor.name,
                )
            case _:
                # By the log's time too: it may be ahead of this clock, and clients go by it.
                if request.issued_us > self.time(now_us) + _ISSUED_AHEAD_US:
                    raise InvalidHeader(
                        "Spawn-Request: issued is over an hour ahead of this node's clock and of "
                        f"the partition's time: {request.issued_us}",
                        at=actor.name,
                        hint="issued is the caller's time in us since 1970; is its clock right?",
                    )
                self._require_room(sessions, request)
                return None

    def _require_room(self, sessions: Sessions, request: RequestNumber) -> None:
        limits = self.limits
        session = sessions.by_id.get(request.session)
        if session is not None and request.low > session.low:
            return  # it makes room
        if session is None and len(sessions.by_id) >= limits.sessions_max:
            raise TooManySessions(
                f"{len(sessions.by_id)} sessions of numbered requests are known here, as many as "
                "may be",
                hint="use one client for the life of a program; sessions are forgotten after 15 "
                "minutes",
            )
        if sessions.numbers >= limits.session_numbers_max:
            raise TooManySessions(
                f"{sessions.numbers} numbered requests are remembered here, as many as may be",
                hint="raise `low` as answers come: what is below it need not be remembered",
            )

    def arrive(self, command: Command) -> Actor | None:
        """Take a command; return its actor if that may start a command now.

        A copy of a numbered request in flight joins it. Raises: MailboxFull, TooManyWaiting,
        StoreUnreachable, ActorParked, NewerCodeNeeded - it was not taken.
        """
        actor = self.residents.actor(command.type, command.id)
        if actor.parked is not None:
            raise copy(actor.parked)
        work = actor.work
        if work is None:
            work = self.residents.busy_with(actor)
        elif command.request is not None and (
            (first := work.request_in_flight(command.request)) is not None
        ):
            first.join(command)
            return None
        elif len(work.mailbox) + work.uncommitted >= actor.table.behavior.settings.mailbox_size_max:
            raise MailboxFull(
                f"{actor.name} has {len(work.mailbox) + work.uncommitted} commands waiting or "
                "uncommitted, as many as its mailbox takes",
                hint="call again later, or raise mailbox_size_max of its type",
            )
        if len(self.pending) + len(self.inflight) >= self.limits.uncommitted_max:
            self.residents.release_work(actor)
            raise TooManyWaiting(
                f"{self.limits.uncommitted_max} commands wait for the log's acknowledgement",
                hint="call again later",
            )
        if actor.dirt is Dirt.CLEAN and self.residents.changed >= self.limits.dirty_max:
            self.residents.release_work(actor)
            raise StoreUnreachable(
                f"{self.residents.changed} actors of this partition have changes that the database "
                f"has not taken; the limit is {self.limits.dirty_max}, and {actor.name} would be "
                "one more",
                at=actor.name,
                hint="actors with changes go on; call again when the database answers",
            )
        work.mailbox.append(command)
        if command.request is not None:
            work.track(command, command.request)
        if actor.asleep:
            self.residents.want(actor, work)
            return None
        return actor if work.running is None else None

    def start(self, actor: Actor) -> Command | None:
        """Return the actor's next command, to be run now; None: there is none that may start."""
        work = actor.work
        if work is None or work.running is not None or self.phase is not Phase.ACTIVE:
            return None
        if self.holds:
            return None
        if not work.mailbox:
            self.residents.release_work(actor)
            return None
        if actor.asleep:
            return None  # it is being loaded; `woken` comes first, then it is started
        command = work.mailbox[0]
        if command.key is not None and work.keys is not None and command.key.key in work.keys:
            return None  # judged after the command in flight with the same key (protocol 7)
        work.mailbox.popleft()
        work.running = command
        return command

    def bound_key(self, actor: Actor, command: Command, now_us: int) -> BoundKey | None:
        """Return what the command's key is bound to: it is then a repetition, not to be run.

        Raises: TooManyKeys - the key is new, and the actor can't remember one more.
        """
        if command.key is None:
            return None
        keys, work = actor.keys, actor.work
        in_flight = 0
        if work is not None and work.keys is not None:
            in_flight = min(len(work.keys), work.uncommitted)  # some may be committed by now
        if keys is None:
            if not in_flight:
                return None
            keys = Keys()
        time_us = self.time(now_us)
        found = keys.find(command.key.key, time_us)
        if found is None and keys.full(time_us, in_flight):
            raise TooManyKeys(
                f"{actor.name} was given too many idempotency keys within 15 minutes",
                hint="spread the commands over more actors, or call without a key",
            )
        return found

    def time(self, now_us: int) -> int:
        """Return the log time of a command that runs now: it never goes back."""
        return now_us if now_us > self._time_us else self._time_us

    def decide(
        self,
        actor: Actor,
        command: Command,
        decision: Decision,
        time_us: int,
        first: tuple[int, int] | None = None,
    ) -> None:
        """Take what user code decided (or, with `first`, a repetition's recorded outcome).

        `first` is (offset, revision) of the record that the command repeats. A decision that
        rests on dropped speculation is dropped; `start` gives the command again.
        """
        work = actor.work
        assert work is not None, "a command runs only on a busy actor"
        assert work.running is command, "a command is decided once"
        work.running = None
        if work.stale:
            work.stale = False
            self.resumable.append(actor)
            return
        if time_us < self._time_us:
            time_us = self._time_us  # another command has run since: log time never goes back
        recorded = actor.table.recorded
        body = _encode(command, decision, recorded)
        if (size := len(body)) > (limit := self.limits.commit_bytes_max):
            decision = _too_large(actor, command, work.state, size, f"the limit is {limit}")
            # The command keeps its input: after a rollback it runs again.
            body = _encode(command, decision, recorded and len(command.payload) <= limit // 2)
        outcome = decision.outcome
        if outcome is Outcome.APPLIED:
            work.revision += 1
            work.state = decision.state
            work.deleted = decision.deleted
        flags = 0
        if (
            first is not None
            or command.key is not None
            or command.request is not None
            or decision.replaced is not None
            or decision.deleted
        ):
            flags = _flags(command, decision, first is not None)
        entry = Entry(
            command,
            actor,
            decision,
            body,
            work.revision,
            time_us,
            outcome,
            command.cause,
            flags,
            actor.table.name,
            command.request,
        )
        if first is not None:
            entry.repeats, entry.first_revision = first
        self._time_us = time_us
        work.uncommitted += 1
        if flags & Flag.KEY and command.key is not None:
            entry.key = command.key
            if work.keys is None:
                work.keys = set()
            work.keys.add(command.key.key)
        self._pending_bytes += _measure(entry)
        self.pending.append(entry)

    def runs_anything(self) -> bool:
        """Tell whether user code runs for some actor."""
        return any(
            actor.work is not None and actor.work.running is not None
            for actor in self.residents.busy
        )

    def abandon(self, actor: Actor) -> None:
        """The command that was started ends without a record: it never reached user code."""
        work = actor.work
        assert work is not None, "a command runs only on a busy actor"
        if work.running is not None:
            work.untrack(work.running)
        work.running = None
        work.stale = False

    # --- appends ---------------------------------------------------------------------------------

    def cut(self, now: float) -> Append | None:
        """Return the next batch to append, or None; `now` is the instant before it is sent.

        With nothing to commit but reads that wait, it is one Barrier (protocol 6).
        """
        if self._appending or self.phase is not Phase.ACTIVE:
            return None
        if not self.pending and not self.reads and not self.barrier_wanted:
            return None
        self.barrier_wanted = False
        self._started = now
        self._appending = True
        self._landed_at = -1
        self._inflight_reads, self.reads = self.reads, []
        self._batch += 1
        if not self.pending:
            barrier = Barrier(self.mine, self.fold.fence.epoch)
            return Append(((None, encode_barrier(barrier)),), True)
        self.inflight = inflight = self._take_batch()
        size = sum([len(entry.body) for entry in inflight])
        return Append([self._cut_entry(entry, n) for n, entry in enumerate(inflight)], False, size)

    def _take_batch(self) -> list[Entry]:
        pending, limits = self.pending, self.limits
        if len(pending) <= limits.batch_records_max and (
            self._pending_bytes <= self._batch_bytes_max
        ):
            self.pending = []
            self._pending_bytes = 0
            return pending
        size = count = 0
        for entry in pending[: limits.batch_records_max]:
            size += entry.size
            if count and size > self._batch_bytes_max:
                size -= entry.size
                break
            count += 1
        self.pending = pending[count:]
        self._pending_bytes -= size
        return pending[:count]

    def _cut_entry(self, entry: Entry, index: int) -> tuple[bytes, bytes]:
        """Encode an entry whose place in the log is known now, but for the batch's offset."""
        actor, fence = entry.actor, self.fold.fence
        work = actor.work
        assert work is not None, "an uncommitted record keeps its actor busy"
        previous = work.index - index if work.batch == self._batch else actor.offset
        work.batch, work.index = self._batch, index
        entry.claim, entry.epoch, entry.sequence = self.mine, fence.epoch, fence.next + index
        entry.previous = previous
        return actor.id, encode_commit(entry, entry.body)

    def acknowledged(self, base: int) -> Sequence[Entry] | None:
        """The append in flight stands at `base`: return what is committed now, in order.

        None: it does not stand where it was expected; the runtime reads from one before the
        position up to the batch's end and calls `observe`.

        Raises: LossDetected - the log gives out an offset again.
        """
        fold = self.fold
        if base != fold.position:
            if base < fold.position:
                raise LossDetected(
                    f"the log put a batch at offset {base}, though {fold.position - 1} was "
                    "acknowledged before"
                )
            self.landed(base)
            return None
        entries, self.inflight = self.inflight, []
        self._appending = False
        self._lease_from = self._started
        self.batches += 1
        if not entries:
            self.barriers += 1
            fold.position = base + 1
            fold.anchor = (self.mine, -2)
            return entries
        offset = base
        fold.fence.next += len(entries)
        fold_commit, commit_actor = fold.commit, self._commit_actor
        for entry in entries:
            fold_commit(entry, offset)
            commit_actor(entry, offset)
            offset += 1
        fold.position = offset
        fold.anchor = (self.mine, fold.fence.next - 1)
        return entries

    def landed(self, base: int) -> None:
        """The append in flight stands at `base`, but what counts there is for `observe` to say."""
        self._landed_at = base

    def _commit_actor(self, entry: Entry, offset: int) -> None:
        entry.offset = offset
        self.commits += 1
        actor, decision = entry.actor, entry.decision
        actor.offset = offset
        if entry.key is not None:
            if actor.keys is None:
                actor.keys = Keys()
            actor.keys.bind(entry.key, offset, entry.time_us)
        if entry.outcome is Outcome.APPLIED:
            actor.state = decision.state
            actor.revision = revision = entry.revision
            actor.deleted = decision.deleted
            interval = actor.table.behavior.settings.history_interval
            if interval and revision % interval == 0 and not decision.deleted:
                self.residents.history.append((actor, revision, offset, decision.state))
        if actor.dirt is not Dirt.DIRTY:
            actor.dirt = Dirt.DIRTY
            self.residents.dirty.append(actor)
        work = actor.work
        if work is not None:
            if entry.request is not None:
                work.untrack(entry.command)
            work.uncommitted = left = work.uncommitted - 1
            if not left:
                work.keys = None
                if work.mailbox and work.running is None:
                    self.resumable.append(actor)
                else:
                    self.residents.release_work(actor)

    # --- reads -----------------------------------------------------------------------------------

    @property
    def appending(self) -> bool:
        """Tell whether an append is in flight, a Barrier included."""
        return self._appending

    def read(self, command: Command, now: float) -> Actor | None:
        """Return the actor if the read may run now on its committed state.

        Else it is kept: until the actor is loaded, or until an append that starts after now is
        acknowledged (`readable`). Raises: ActorParked, NewerCodeNeeded.
        """
        actor = self.residents.actor(command.type, command.id)
        if actor.asleep:
            if actor.parked is not None:
                raise copy(actor.parked)
            work = actor.work
            if work is None:
                work = self.residents.busy_with(actor)
            work.reads.append(command)
            self.residents.want(actor, work)
            return None
        if command.strict or now - self._lease_from >= LEASE_S or self.phase is not Phase.ACTIVE:
            self.reads.append(command)
            return None
        return actor

    def readable(self, now: float) -> Sequence[Command]:
        """Return the reads that an append just acknowledged (or found valid) allows to run now."""
        if self._appending:
            return ()
        ready, self._inflight_reads = self._inflight_reads, []
        if self.reads and now - self._lease_from < LEASE_S:
            ready = ready + [command for command in self.reads if not command.strict]
            self.reads = [command for command in self.reads if command.strict]
        return ready

    # --- trouble ---------------------------------------------------------------------------------

    def lost(self) -> None:
        """The append in flight has an unknown outcome: nothing runs until `resume`."""
        self.phase = Phase.RECOVERING
        self._lease_from = float("-inf")

    def refused(self) -> None:
        """The log certainly stored nothing of the append in flight: it is to be cut again."""
        assert self._appending, "an append was in flight"
        self.pending = self.inflight + self.pending
        self._pending_bytes += sum([entry.size for entry in self.inflight])
        self.inflight = []
        self.reads = self._inflight_reads + self.reads
        self._inflight_reads = []
        self._appending = False

    def too_large(self, reason: str) -> Sequence[Actor] | None:
        """The log refused the append in flight as too large; nothing of it was stored.

        Several records are cut again in smaller batches. A single one is replaced by one that says
        so, the outcome of its command; what was speculated on it is dropped. Which batches are
        small enough is remembered. Returns the actors to start again; None: the log does not even
        take the smallest record.
        """
        entries = self.inflight
        self.refused()
        if len(entries) > 1:
            refused_bytes = sum([entry.size for entry in entries])
            self._batch_bytes_max = min(self._batch_bytes_max, refused_bytes // 2)
            return ()
        if not entries or entries[0].bare:
            return None
        return [self._replace_by_failure(entries[0], reason)]

    def _replace_by_failure(self, entry: Entry, reason: str) -> Actor:
        actor, command = entry.actor, entry.command
        dropped = [each for each in self.pending if each.actor is actor]
        assert dropped[0] is entry, "all that is uncommitted of its actor comes behind it"
        work = self._drop_speculation(actor)
        for other in reversed(dropped[1:]):
            work.mailbox.appendleft(other.command)
        size = len(entry.body)
        decision = _too_large(actor, command, work.state, size, f"the log refuses it: {reason}")
        failure = Entry(
            command,
            actor,
            decision,
            _encode(command, decision, False),
            work.revision,
            entry.time_us,
            decision.outcome,
            command.cause,
            _flags(command, decision, False),
            actor.table.name,
            command.request,
            bare=True,
        )
        _measure(failure)
        work.uncommitted = 1
        # First in the log: what others decided since has a later time.
        self.pending = [failure, *(each for each in self.pending if each.actor is not actor)]
        self._pending_bytes = sum([each.size for each in self.pending])
        return actor

    def withdraw(self) -> tuple[Sequence[Command], Sequence[Actor]]:
        """The log stored nothing of the append in flight, and takes nothing for now.

        Returns the commands and reads to be told so: those that were decided, which are as if they
        had never run, and the reads that waited for the append; and the actors to start again.
        """
        self.refused()
        entries, actors = self.pending, self.roll_back()
        self._time_us = self.fold.time_us
        commands = []
        for entry in entries:
            work = entry.actor.work
            assert work is not None, "an uncommitted record keeps its actor busy"
            command = work.mailbox.popleft()
            work.untrack(command)
            commands.append(command)
        commands += self.reads
        self.reads = []
        return commands, actors

    def observe(self, records: Sequence[StoredRecord]) -> Sequence[Entry]:
        """Fold records read from the log while own ones may be among them.

        The first may be the one before the position: it is compared with what was folded. Returns
        the own entries that proved valid, in order. A valid foreign claim makes it FENCED; what is
        behind it is left alone.

        May be called piece by piece. The append in flight is over when its last record was folded,
        its Barrier likewise, with our claim still the current one: only then reads rest on it.

        Raises: LossDetected, UnreadablePrefix - go on with that very record once it was declared
        void; or it stays so.
        """
        fold = self.fold
        settled = self._observed
        for index, stored in enumerate(records):
            if stored.offset < fold.position:
                self._verify_anchor(stored)
                continue
            commit = fold.step(stored, records, index)
            if commit is not None:
                entry = self._entry_of(commit)
                self._commit_actor(entry, stored.offset)
                settled.append(entry)
            elif not self.owned:
                self.phase = Phase.FENCED
                break
            elif stored.offset == self._landed_at and fold.anchor == (self.mine, -2):
                self._barrier_met = True
        found = self._barrier_met or (bool(settled) and len(settled) == len(self.inflight))
        del self.inflight[: len(settled)]
        self._observed, self._barrier_met = [], False
        if found and self._appending and self.phase is Phase.ACTIVE:
            self._appending = False
            self._lease_from = self._started
        return settled

    def _entry_of(self, commit: Commit) -> Entry:
        """Return the own entry that a valid record under one of our claims is."""
        if self.inflight:
            first = self.inflight[0]
            index = commit.sequence - first.sequence
            if first.claim == commit.claim and 0 <= index < len(self.inflight):
                return self.inflight[index]
        raise LossDetected(
            f"a record under our own claim {commit.claim.hex()}, sequence {commit.sequence}, "
            "was not written by this process: two processes share one claim id"
        )

    def resume(self) -> Sequence[Actor]:
        """Our new claim is current: drop all speculation; return the actors to start again.

        Their void commands stand in front of their mailboxes, in the order in which they ran.
        """
        assert self.owned, "only the current claim's owner may write"
        actors = self.roll_back()
        self.mine = self.fold.fence.claim
        self._time_us = self.fold.time_us
        self.reads = self._inflight_reads + self.reads
        self._inflight_reads = []
        self._appending = False
        self.phase = Phase.ACTIVE
        return actors

    def roll_back(self) -> Sequence[Actor]:
        """Put void and unsent commands back into their actors' mailboxes; return those actors."""
        for actor in self.residents.busy:
            self._drop_speculation(actor)
        for entry in reversed(self.inflight + self.pending):
            work = entry.actor.work
            assert work is not None, "an uncommitted record keeps its actor busy"
            work.mailbox.appendleft(entry.command)
        self.inflight, self.pending, self._pending_bytes = [], [], 0
        return list(self.residents.busy)

    @staticmethod
    def _drop_speculation(actor: Actor) -> Work:
        """Let an actor go on from its committed state; what runs now will run again."""
        work = actor.work
        assert work is not None, "busy actors have work"
        work.reset(actor)
        # Stale already: what runs went back into the mailbox at an earlier recovery.
        if work.running is not None and not work.stale:
            work.stale = True
            work.mailbox.appendleft(work.running)
        return work

    def unsettled(self) -> Sequence[Command]:
        """Give up the partition: return every command and read that has no outcome here."""
        commands = [entry.command for entry in self.inflight + self.pending]
        for actor in self.residents.busy:
            if (work := actor.work) is not None:
                if work.running is not None and not work.stale:
                    commands.append(work.running)
                commands += [*work.mailbox, *work.reads]
        commands += self._inflight_reads + self.reads
        self.inflight, self.pending, self.reads, self._inflight_reads = [], [], [], []
        self.residents.busy = {}
        return commands

    def release(self) -> bytes:
        """Begin a planned stop: from now on nothing is answered or written under this claim."""
        assert not self.inflight, "a release comes after the last commit"
        assert not self.pending, "a release comes after the last commit"
        self.phase = Phase.RELEASED
        return encode_release(Release(self.mine, self.fold.fence.epoch, self.fold.fence.next))


def _too_large(actor: Actor, command: Command, state: Any, size: int, why: str) -> Decision:
    text = f"{command.action} of {actor.name} made a record of {size} bytes; {why}"
    return Decision(Outcome.FAILED, state, refusal=Refusal("too-large", text))


def _measure(entry: Entry) -> int:
    """Note how much the entry's record adds to a batch, and return it."""
    actor = entry.actor
    size = len(entry.body) + len(actor.id) + actor.table.record_bytes
    if entry.flags & SECTION_FLAGS or entry.cause in SECTION_CAUSES:
        size += len(encode_sections(entry))
    entry.size = size
    return size


def _encode(command: Command, decision: Decision, recorded: bool) -> bytes:
    return encode_commit_body(
        command.action,
        command.payload if recorded else b"",
        decision.events,
        decision.replaced,
        decision.reply_json,
        decision.refusal,
        command.key_text,
        command.caller,
        command.metadata if recorded else None,
    )


def _flags(command: Command, decision: Decision, repeats: bool) -> int:
    flags = 0
    if command.request is not None:
        flags |= Flag.REQUEST
    if repeats:
        flags |= Flag.REPEATS
    elif command.key is not None and decision.outcome is not Outcome.FAILED:
        flags |= Flag.KEY
    if decision.replaced is not None:
        flags |= Flag.STATE
    if decision.deleted:
        flags |= Flag.DELETED
    return flags
