"""Two owners of one partition, whose flushes overlap in any way, and a model of what comes of it.

The model is written from the port's words alone and shares no code with an implementation.
"""

import asyncio
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import strategies as st

from eventstore.log import TopicPartition
from eventstore.rows import (
    ActorRow,
    Checkpoint,
    FlushSlice,
    HistoryRow,
    KeyRow,
)
from eventstore.snapshots import SnapshotStore
from tests.contract.snapshots_contract import (
    LOG,
    OTHER_LOG,
    GatedSlices,
    actor,
    checkpoint,
    digest,
    key,
    new_place,
    past,
)


@dataclass(frozen=True)
class Begin:
    """An owner begins a flush, if it has none under way."""

    owner: int
    offset: int
    base: int
    log_id: bytes


@dataclass(frozen=True)
class Give:
    """It hands over a slice."""

    owner: int
    piece: FlushSlice


@dataclass(frozen=True)
class End:
    """Its stream ends, or raises."""

    owner: int
    raises: bool


@dataclass(frozen=True)
class Discard:
    """Somebody discards the partition."""


Step = Begin | Give | End | Discard

_IDS = ("a", "b", "c")
_offsets = st.integers(0, 9)
_ids = st.sampled_from(_IDS)
_pieces = st.builds(
    FlushSlice,
    st.lists(
        st.builds(actor, _ids, _offsets, st.sampled_from([None, b"x", b"y", b"z"])), max_size=3
    ),
    st.lists(st.builds(past, _ids, st.integers(1, 3), _offsets), max_size=2),
    st.lists(st.builds(key, _ids, st.sampled_from("kl"), _offsets), max_size=2),
    st.lists(st.tuples(st.just("Counter"), _ids, st.sampled_from("kl").map(digest)), max_size=1),
)
_owners = st.integers(0, 1)
_steps = st.one_of(
    st.builds(
        Begin,
        _owners,
        st.integers(0, 10),
        st.one_of(st.just(0), st.integers(0, 10)),
        st.sampled_from([LOG, LOG, LOG, OTHER_LOG]),
    ),
    st.builds(Give, _owners, _pieces),
    st.builds(End, _owners, st.sampled_from([False, False, False, True])),
    st.just(Discard()),
)
interleavings = st.lists(_steps, min_size=4, max_size=24)
"""Steps of two owners; one that does not fit (no flush under way) is skipped."""


@dataclass
class _Model:
    """A partition, as plain as can be: all rows ever applied, and the rules read off the port."""

    stored: Checkpoint | None = None
    actors: dict[str, ActorRow] = field(default_factory=dict)
    history: dict[tuple[str, int], HistoryRow] = field(default_factory=dict)
    keys: dict[tuple[str, bytes], KeyRow] = field(default_factory=dict)

    def applies(self, begun: Begin) -> bool:
        if self.stored is None:
            return begun.base <= 0 and begun.offset > 0
        same_log = self.stored.log_id == begun.log_id
        return same_log and begun.base <= self.stored.offset < begun.offset

    def stands(self, begun: Begin) -> bool:
        return self.stored == checkpoint(begun.offset, begun.log_id)

    def apply(self, begun: Begin, pieces: Iterable[FlushSlice]) -> None:
        self.stored = checkpoint(begun.offset, begun.log_id)
        pieces = list(pieces)
        for piece in pieces:
            for _, id_, dropped in piece.dropped_keys:
                self.keys.pop((id_, dropped), None)
        # Sorting by offset is stable: of equal ones the later in the flush would win, which the
        # port leaves open, so `_distinct` sees to it that there are none.
        for piece in pieces:
            for row in piece.actors:
                if row.offset >= self.actors.get(row.id, row).offset:
                    self.actors[row.id] = row
            for old in piece.history:
                at = (old.id, old.revision)
                if old.offset >= self.history.get(at, old).offset:
                    self.history[at] = old
            for known in piece.keys:
                name = (known.id, known.key)
                if known.offset >= self.keys.get(name, known).offset:
                    self.keys[name] = known


@dataclass
class _Flush:
    begun: Begin
    slices: GatedSlices
    task: asyncio.Task[bool]
    pieces: list[FlushSlice] = field(default_factory=list)


class InjectedError(Exception):
    """What a stream raises in an interleaving."""


async def run_interleaving(stores: Sequence[SnapshotStore], steps: Iterable[Step]) -> None:
    """Let two owners (their stores) do the steps; compare all that is stored after each."""
    at = new_place()
    model = _Model()
    under_way: dict[int, _Flush] = {}
    for step in steps:
        match step:
            case Begin(owner=owner) if owner not in under_way:
                slices = GatedSlices()
                task = asyncio.create_task(
                    stores[owner].flush(at, checkpoint(step.offset, step.log_id), step.base, slices)
                )
                assert await slices.asked(task) is model.applies(step)
                if task.done():
                    assert await task is model.stands(step)
                else:
                    under_way[owner] = _Flush(step, slices, task)
            case Give(owner=owner) if owner in under_way:
                flush = under_way[owner]
                piece = _distinct(step.piece, flush.pieces)
                flush.pieces.append(piece)
                await flush.slices.give(piece, flush.task)
            case End(owner=owner) if owner in under_way:
                await _end(under_way.pop(owner), model, raises=step.raises)
            case Discard():
                assert await stores[0].discard(at) is (model.stored is not None)
                model = _Model()
            case _:
                continue
        await _compare(stores[0], at, model)
    for flush in under_way.values():
        await _end(flush, model, raises=False)
        await _compare(stores[1], at, model)


async def _end(flush: _Flush, model: _Model, *, raises: bool) -> None:
    if raises:
        flush.slices.end(InjectedError())
        with pytest.raises(InjectedError):
            await flush.task
        return
    flush.slices.end()
    applies = model.applies(flush.begun)
    assert await flush.task is (applies or model.stands(flush.begun))
    if applies:
        model.apply(flush.begun, flush.pieces)


def _distinct(piece: FlushSlice, before: Sequence[FlushSlice]) -> FlushSlice:
    """Leave out rows that an earlier row of the flush equals in everything but its content."""
    actors = {(row.id, row.offset) for other in before for row in other.actors}
    history = {(row.id, row.revision, row.offset) for other in before for row in other.history}
    return FlushSlice(
        list(
            {
                (row.id, row.offset): row
                for row in piece.actors
                if (row.id, row.offset) not in actors
            }.values()
        ),
        list(
            {
                (row.id, row.revision, row.offset): row
                for row in piece.history
                if (row.id, row.revision, row.offset) not in history
            }.values()
        ),
        piece.keys,
        piece.dropped_keys,
    )


async def _compare(store: SnapshotStore, at: TopicPartition, model: _Model) -> None:
    assert await store.checkpoint(at) == model.stored
    loaded = await store.load(at, [("Counter", id_) for id_ in _IDS])
    assert loaded.checkpoint == (model.stored.offset if model.stored else 0)
    assert loaded.actors == {("Counter", id_): row for id_, row in model.actors.items()}
    by_offset = sorted(model.keys.values(), key=lambda row: (row.offset, row.key))
    assert loaded.keys == {
        ("Counter", id_): [row for row in by_offset if row.id == id_]
        for id_ in {row.id for row in by_offset}
    }
    for id_, revision in itertools.product(_IDS, (1, 2, 3)):
        expected = [model.history.get((id_, number)) for number in range(1, revision + 1)]
        nearest = next((row for row in reversed(expected) if row is not None), None)
        assert await store.history_before(at, ("Counter", id_), revision) == nearest
