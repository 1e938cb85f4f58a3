"""What every snapshot store holds: the contract suite and its small data.

Not collected by itself: each implementation's test module inherits `SnapshotsContract` and gives it
a fixture `open_store`.

Over 400 lines: one suite, a method for each promise of the port.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

import pytest

from eventstore.log import TopicPartition
from eventstore.rows import (
    NO_STATE,
    ActorListing,
    ActorName,
    ActorRow,
    Checkpoint,
    FlushSlice,
    HistoryRow,
    KeyRow,
)
from eventstore.snapshots import SnapshotStore

OpenStore = Callable[[str], SnapshotStore]
"""Opens a store of a system, on the one database of the test; closing it is the fixture's."""

FINGERPRINT = b"\x00\x01\x02\x03\xfc\xfd\xfe\xff"
LOG = b"log.............1"
OTHER_LOG = b"log.............2"

_partitions = itertools.count()


def new_place() -> TopicPartition:
    """Return a partition that no test used before."""
    return TopicPartition("spawn.demo.Counter", next(_partitions))


def checkpoint(offset: int, log_id: bytes = LOG) -> Checkpoint:
    """Return a checkpoint whose every field tells which one it is."""
    return Checkpoint(
        offset=offset,
        claim=b"claim %10d" % offset,
        epoch=offset * 7,
        log_id=log_id,
        fold=b"fold\x00%d" % offset,
    )


def actor(
    id_: str, offset: int, state: bytes | None = b"state", *, type_: str = "Counter"
) -> ActorRow:
    """Return an actor's row; without a state it is that of a deleted one."""
    return ActorRow(
        type_, id_, offset + 1, offset, state is None, state, FINGERPRINT, 3, 0xFFFF_FFFF
    )


def past(id_: str, revision: int, offset: int, state: bytes | None = b"past") -> HistoryRow:
    """Return a history row."""
    return HistoryRow("Counter", id_, revision, offset, state, FINGERPRINT)


def key(id_: str, name: str, offset: int) -> KeyRow:
    """Return an idempotency key's row; its time is beyond 32 bits."""
    return KeyRow("Counter", id_, digest(name), digest("payload"), offset, offset + 2**40)


def digest(name: str) -> bytes:
    """Return 16 bytes that begin with the name."""
    return name.encode().ljust(16, b"\x00")


class Slices:
    """Slices of a flush; counts how many were taken."""

    def __init__(self, *slices: FlushSlice, then: BaseException | None = None) -> None:
        self._slices = slices
        self._then = then
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[FlushSlice]:
        for piece in self._slices:
            self.taken += 1
            yield piece
        if self._then is not None:
            raise self._then


def rows(*actors: ActorRow) -> Slices:
    """Return a stream of one slice."""
    return Slices(FlushSlice(actors))


class GatedSlices:
    """Slices that a test hands over one by one, so that it decides what happens in between."""

    def __init__(self) -> None:
        self._given: asyncio.Queue[FlushSlice | BaseException | None] = asyncio.Queue()
        self._asked = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[FlushSlice]:
        while True:
            self._asked.set()
            piece = await self._given.get()
            if piece is None:
                return
            if isinstance(piece, BaseException):
                raise piece
            yield piece

    async def asked(self, flush: asyncio.Task[bool]) -> bool:
        """Wait until the flush asks for a slice (true) or has ended without (false)."""
        waiter = asyncio.create_task(self._asked.wait())
        await asyncio.wait({waiter, flush}, return_when=asyncio.FIRST_COMPLETED)
        waiter.cancel()
        return self._asked.is_set()

    async def give(self, piece: FlushSlice, flush: asyncio.Task[bool]) -> None:
        """Hand a slice over; return when the flush has dealt with it."""
        self._asked.clear()
        self._given.put_nowait(piece)
        await self.asked(flush)

    def end(self, error: BaseException | None = None) -> None:
        """End the stream, or let it raise."""
        self._given.put_nowait(error)


class SnapshotsContract:
    """The suite."""

    @pytest.fixture
    def store(self, open_store: OpenStore) -> SnapshotStore:
        """Return a store of the system `demo`."""
        return open_store("demo")

    async def test_it_answers(self, store: SnapshotStore) -> None:
        """The question of a health check."""
        await store.ping()

    async def test_its_clock_goes_on_or_is_none(self, store: SnapshotStore) -> None:
        """Microseconds since 1970, of the moment of the answer and not of a transaction."""
        first, second = await store.time_us(), await store.time_us()
        assert (first is None) == (second is None)
        if first is not None and second is not None:
            assert 1_700_000_000_000_000 < first < second

    async def test_nothing_is_there_at_first(self, store: SnapshotStore) -> None:
        """An unknown partition has no checkpoint, X = 0 and no rows."""
        at = new_place()
        assert await store.checkpoint(at) is None
        assert await store.load(at, [("Counter", "a")]) == (0, {}, {})
        assert await store.load(at, []) == (0, {}, {})
        assert await store.history_before(at, ("Counter", "a"), 10) is None
        assert not await store.discard(at)

    async def test_a_flush_is_read_back_field_by_field(self, store: SnapshotStore) -> None:
        """Checkpoint, actor, history and key come back as they were written."""
        at = new_place()
        piece = FlushSlice([actor("a", 5)], [past("a", 4, 3)], [key("a", "k", 5)])
        assert await store.flush(at, checkpoint(6), 0, Slices(piece))

        assert await store.checkpoint(at) == checkpoint(6)
        name = ("Counter", "a")
        assert await store.load(at, [name]) == (
            6,
            {name: actor("a", 5)},
            {name: [key("a", "k", 5)]},
        )
        assert await store.history_before(at, name, 4) == past("a", 4, 3)

    async def test_rows_are_listed_by_id_then_type(self, store: SnapshotStore) -> None:
        """From behind any actor, of one type or of all, with ids in the order of their bytes."""
        at = new_place()
        assert await store.actors(at, limit=10) == []
        ids = ["b", "a", "é", "z", "\U0001f680", "\uffee", "aa", "\x00"]
        kept = [actor(id_, 5 + number) for number, id_ in enumerate(ids)]
        kept += [actor("a", 20, None, type_="Zoo"), actor("a", 21, type_="Bar")]
        assert await store.flush(at, checkpoint(30), 0, rows(*kept))
        kept.sort(key=lambda row: (row.id.encode(), row.type))
        every = [
            ActorListing(row.type, row.id, row.revision, row.offset, row.deleted) for row in kept
        ]

        assert await store.actors(at, limit=100) == every
        assert await store.actors(at, limit=3) == every[:3]
        for index, row in enumerate(every):
            name = (row.type, row.id)
            assert await store.actors(at, after=name, limit=4) == every[index + 1 : index + 5]
        # One that does not exist is a place in the order like any other.
        assert await store.actors(at, after=("Counter", "ab"), limit=1) == [
            each for each in every if each.id == "b"
        ]
        counters = [row for row in every if row.type == "Counter"]
        assert await store.actors(at, actor_type="Counter", limit=100) == counters
        after = (counters[2].type, counters[2].id)
        found = await store.actors(at, actor_type="Counter", after=after, limit=2)
        assert found == counters[3:5]

    async def test_a_flush_without_rows_moves_the_checkpoint(self, store: SnapshotStore) -> None:
        """Records that change no actor (claims, sessions) are part of a checkpoint too."""
        at = new_place()
        assert await store.flush(at, checkpoint(1), 0, Slices())
        assert await store.flush(at, checkpoint(2), 1, Slices(FlushSlice([])))
        assert await store.checkpoint(at) == checkpoint(2)

    @pytest.mark.parametrize(
        ("offset", "base", "log_id", "applies"),
        [
            (11, 10, LOG, True),
            (11, 9, LOG, True),  # rows of more than was asked for do no harm
            (11, 0, LOG, True),
            (11, 11, LOG, False),  # rows between the stored X and the base are missing
            (2**40, 2**39, LOG, False),
            (9, 0, LOG, False),
            (11, 10, OTHER_LOG, False),
            (11, 0, OTHER_LOG, False),
        ],
    )
    async def test_a_flush_applies_between_its_base_and_its_x(
        self, store: SnapshotStore, offset: int, base: int, log_id: bytes, applies: bool
    ) -> None:
        """Protocol 4: iff base <= stored X < its X, in the same log; X = 10 is stored here."""
        at = new_place()
        assert await store.flush(at, checkpoint(10), 0, rows(actor("a", 1)))
        slices = rows(actor("a", 8, b"new"))

        assert await store.flush(at, checkpoint(offset, log_id), base, slices) is applies

        after = await store.load(at, [("Counter", "a")])
        if applies:
            assert await store.checkpoint(at) == checkpoint(offset)
            assert after.actors == {("Counter", "a"): actor("a", 8, b"new")}
        else:
            assert slices.taken == 0, "a refused flush asked for rows"
            assert await store.checkpoint(at) == checkpoint(10)
            assert after == (10, {("Counter", "a"): actor("a", 1)}, {})

    @pytest.mark.parametrize("base", [0, 9, 10])
    async def test_a_flush_that_comes_again_stands(self, store: SnapshotStore, base: int) -> None:
        """The answer to its first try was lost; what is there is not written a second time."""
        at = new_place()
        assert await store.flush(at, checkpoint(10), 0, rows(actor("a", 9)))
        slices = rows(actor("a", 9, b"again"))

        assert await store.flush(at, checkpoint(10), base, slices)

        assert slices.taken == 0
        assert await store.load(at, [("Counter", "a")]) == (
            10,
            {("Counter", "a"): actor("a", 9)},
            {},
        )

    @pytest.mark.parametrize("change", [{"claim": bytes(16)}, {"log_id": OTHER_LOG}])
    async def test_another_checkpoint_at_the_same_x_is_refused(
        self, store: SnapshotStore, change: dict[str, bytes]
    ) -> None:
        """After a loss offsets are used again: the same X under another claim is another fold."""
        at = new_place()
        assert await store.flush(at, checkpoint(10), 0, rows(actor("a", 9)))
        slices = rows(actor("a", 9, b"other"))
        other = replace(checkpoint(10), **change)  # type: ignore[arg-type]
        assert not await store.flush(at, other, 10, slices)
        assert slices.taken == 0
        assert await store.checkpoint(at) == checkpoint(10)

    async def test_a_flush_that_landed_while_it_was_repeated_stands(
        self, open_store: OpenStore
    ) -> None:
        """The second try began before the first took effect; both count, the rows once."""
        first, second = open_store("demo"), open_store("demo")
        at, name = new_place(), ("Counter", "a")
        slices = GatedSlices()
        repeated = asyncio.create_task(second.flush(at, checkpoint(5), 0, slices))
        await slices.give(FlushSlice([actor("a", 4, b"second")]), repeated)
        assert await first.flush(at, checkpoint(5), 0, rows(actor("a", 4, b"first")))
        slices.end()
        assert await repeated
        assert (await first.load(at, [name])).actors == {name: actor("a", 4, b"first")}

    @pytest.mark.parametrize(("base", "applies"), [(0, True), (1, False)])
    async def test_no_checkpoint_counts_as_x_0_of_any_log(
        self, store: SnapshotStore, base: int, applies: bool
    ) -> None:
        """A partition's first flush must be complete from its beginning."""
        at = new_place()
        slices = rows(actor("a", 1))
        assert await store.flush(at, checkpoint(5, OTHER_LOG), base, slices) is applies
        assert (await store.checkpoint(at) is not None) is applies
        assert slices.taken == applies

    async def test_a_flush_at_0_is_nothing_newer(self, store: SnapshotStore) -> None:
        """X = 0 is what stands for no checkpoint."""
        at = new_place()
        assert not await store.flush(at, checkpoint(0), 0, Slices())
        assert await store.checkpoint(at) is None

    @pytest.mark.parametrize("error", [ValueError("broken"), OSError("network"), TimeoutError()])
    async def test_a_stream_that_raises_leaves_nothing(
        self, store: SnapshotStore, error: Exception
    ) -> None:
        """What it raised comes out as it is; the store works on."""
        at = new_place()
        assert await store.flush(at, checkpoint(1), 0, rows(actor("a", 0)))
        half = FlushSlice(
            [actor("a", 1), actor("b", 1)],
            [past("a", 1, 1)],
            [key("a", "k", 1)],
            [("Counter", "a", digest("x"))],
        )

        with pytest.raises(type(error)) as raised:
            await store.flush(at, checkpoint(2), 1, Slices(half, half, then=error))

        assert raised.value is error
        names = [("Counter", "a"), ("Counter", "b")]
        assert await store.load(at, names) == (1, {names[0]: actor("a", 0)}, {})
        assert await store.history_before(at, names[0], 9) is None
        assert await store.checkpoint(at) == checkpoint(1)
        assert await store.flush(at, checkpoint(2), 1, rows(actor("b", 1)))

    async def test_a_cancelled_flush_leaves_nothing(self, store: SnapshotStore) -> None:
        """A node that stops in mid-flush needs no clean-up."""
        at = new_place()
        slices = GatedSlices()
        flush = asyncio.create_task(store.flush(at, checkpoint(2), 0, slices))
        assert await slices.asked(flush)
        await slices.give(FlushSlice([actor("a", 1)]), flush)

        flush.cancel()
        with pytest.raises(asyncio.CancelledError):
            await flush

        assert await store.load(at, [("Counter", "a")]) == (0, {}, {})
        assert await store.flush(at, checkpoint(2), 0, rows(actor("a", 1)))

    async def test_loads_see_the_old_checkpoint_until_a_flush_is_done(
        self, store: SnapshotStore
    ) -> None:
        """A load waits for no flush, and never sees a half."""
        at, name = new_place(), ("Counter", "a")
        assert await store.flush(at, checkpoint(1), 0, rows(actor("a", 0, b"old")))
        slices = GatedSlices()
        flush = asyncio.create_task(store.flush(at, checkpoint(2), 1, slices))
        await slices.give(FlushSlice([actor("a", 1, b"new")]), flush)

        assert await store.load(at, [name]) == (1, {name: actor("a", 0, b"old")}, {})
        slices.end()
        assert await flush
        assert await store.load(at, [name]) == (2, {name: actor("a", 1, b"new")}, {})

    async def test_a_slow_flush_does_not_hold_up_another_owner(self, open_store: OpenStore) -> None:
        """Who stops in mid-flush neither blocks the next owner nor overwrites it afterwards."""
        slow, quick = open_store("demo"), open_store("demo")
        at, name = new_place(), ("Counter", "a")
        slices = GatedSlices()
        flush = asyncio.create_task(slow.flush(at, checkpoint(5), 0, slices))
        await slices.give(FlushSlice([actor("a", 4, b"slow")]), flush)

        assert await quick.flush(at, checkpoint(7), 0, rows(actor("a", 6, b"quick")))
        slices.end()
        assert not await flush
        assert await quick.load(at, [name]) == (7, {name: actor("a", 6, b"quick")}, {})

    async def test_of_two_flushes_that_would_both_apply_one_does(
        self, open_store: OpenStore
    ) -> None:
        """The judgement and the write are one step, even of the partition's first flushes."""
        stores = [open_store("demo") for _ in range(4)]
        at = new_place()
        streams = [GatedSlices() for _ in stores]
        of_claims = [replace(checkpoint(5), claim=bytes([n]) * 16) for n in range(4)]
        flushes = [
            asyncio.create_task(store.flush(at, mine, 0, slices))
            for store, mine, slices in zip(stores, of_claims, streams, strict=True)
        ]
        for slices, flush in zip(streams, flushes, strict=True):
            assert await slices.asked(flush)
        for slices in streams:
            slices.end()
        assert sorted(await asyncio.gather(*flushes)) == [False, False, False, True]

    async def test_a_row_never_replaces_one_of_a_higher_offset(self, store: SnapshotStore) -> None:
        """A zombie's row loses, whatever else its flush has; also history and keys."""
        at, name = new_place(), ("Counter", "a")
        newer = FlushSlice([actor("a", 9, b"newer")], [past("a", 2, 9)], [key("a", "k", 9)])
        older = FlushSlice(
            [actor("a", 8, b"older"), actor("b", 8)],
            [past("a", 2, 8, b"older")],
            [key("a", "k", 8)],
        )
        assert await store.flush(at, checkpoint(10), 0, Slices(newer))
        assert await store.flush(at, checkpoint(11), 10, Slices(older))
        loaded = await store.load(at, [name, ("Counter", "b")])
        assert loaded.actors == {name: actor("a", 9, b"newer"), ("Counter", "b"): actor("b", 8)}
        assert loaded.keys == {name: [key("a", "k", 9)]}
        assert await store.history_before(at, name, 2) == past("a", 2, 9)

    async def test_a_row_replaces_one_of_the_same_offset(self, store: SnapshotStore) -> None:
        """A state of another snapshot version, or with a bad checksum, is mended that way."""
        at, name = new_place(), ("Counter", "a")
        assert await store.flush(at, checkpoint(10), 0, rows(actor("a", 9, b"bad")))
        assert await store.flush(at, checkpoint(11), 10, rows(actor("a", 9, b"mended")))
        assert (await store.load(at, [name])).actors == {name: actor("a", 9, b"mended")}

    async def test_of_rows_of_one_actor_the_highest_offset_counts(
        self, store: SnapshotStore
    ) -> None:
        """Within one flush the order of rows and slices means nothing."""
        at, name = new_place(), ("Counter", "a")
        pieces = [
            FlushSlice([actor("a", 5)], [past("a", 1, 5)], [key("a", "k", 5)]),
            FlushSlice([actor("a", 7), actor("a", 6)], [past("a", 1, 7)], [key("a", "k", 7)]),
            FlushSlice([actor("a", 4)], [past("a", 1, 4)], [key("a", "k", 4)]),
        ]
        assert await store.flush(at, checkpoint(8), 0, Slices(*pieces))
        loaded = await store.load(at, [name])
        assert loaded == (8, {name: actor("a", 7)}, {name: [key("a", "k", 7)]})
        assert await store.history_before(at, name, 1) == past("a", 1, 7)

    async def test_a_deleted_actor_keeps_its_row_without_a_state(
        self, store: SnapshotStore
    ) -> None:
        """A tombstone keeps the revision (protocol 2); an empty state is not no state."""
        at, name = new_place(), ("Counter", "a")
        assert await store.flush(at, checkpoint(1), 0, rows(actor("a", 0, b"")))
        assert (await store.load(at, [name])).actors[name].state == b""
        assert await store.flush(at, checkpoint(2), 1, rows(actor("a", 1, None)))
        assert (await store.load(at, [name])).actors == {name: actor("a", 1, None)}

    async def test_keys_come_in_and_fall_out(self, store: SnapshotStore) -> None:
        """They are read lowest offset first; dropping one that is not there is no error."""
        at, name = new_place(), ("Counter", "a")
        keys = [key("a", "k3", 3), key("a", "k1", 1), key("b", "k1", 1)]
        assert await store.flush(at, checkpoint(4), 0, Slices(FlushSlice([], [], keys)))
        both = [name, ("Counter", "b")]
        assert (await store.load(at, both)).keys == {
            name: [key("a", "k1", 1), key("a", "k3", 3)],
            ("Counter", "b"): [key("b", "k1", 1)],
        }

        drops = [(*name, digest("k1")), (*name, digest("never"))]
        piece = FlushSlice([], [], [key("a", "k0", 4)], drops)
        assert await store.flush(at, checkpoint(5), 4, Slices(piece))
        assert (await store.load(at, both)).keys == {
            name: [key("a", "k3", 3), key("a", "k0", 4)],
            ("Counter", "b"): [key("b", "k1", 1)],
        }
        drops = [(*name, digest("k3")), (*name, digest("k0"))]
        assert await store.flush(at, checkpoint(6), 5, Slices(FlushSlice([], [], [], drops)))
        assert (await store.load(at, [name])).keys == {}

    @pytest.mark.parametrize("drop_first", [True, False])
    async def test_a_key_that_fell_out_and_came_again_is_there(
        self, store: SnapshotStore, drop_first: bool
    ) -> None:
        """Drops come before rows, in whatever slice they stand."""
        at, name = new_place(), ("Counter", "a")
        assert await store.flush(
            at, checkpoint(1), 0, Slices(FlushSlice([], [], [key("a", "k", 0)]))
        )
        pieces = [
            FlushSlice([], dropped_keys=[(*name, digest("k"))]),
            FlushSlice([], keys=[key("a", "k", 1)]),
        ]
        ordered = pieces if drop_first else reversed(pieces)
        assert await store.flush(at, checkpoint(2), 1, Slices(*ordered))
        assert (await store.load(at, [name])).keys == {name: [key("a", "k", 1)]}

    async def test_loads_tell_known_from_unknown(self, store: SnapshotStore) -> None:
        """Only those asked for, only those there, and X in any case; asking twice does no harm."""
        at = new_place()
        known = [actor(f"a{number}", number) for number in range(50)]
        assert await store.flush(at, checkpoint(50), 0, rows(*known))
        names = [("Counter", f"a{number}") for number in range(40, 60)]
        loaded = await store.load(at, [*names, names[0], ("Other", "a41")])
        assert loaded == (50, {("Counter", row.id): row for row in known[40:]}, {})
        assert await store.load(at, [("Counter", "b")]) == (50, {}, {})
        assert await store.load(at, []) == (50, {}, {})

    async def test_types_share_a_partition(self, store: SnapshotStore) -> None:
        """An actor is (type, id)."""
        at = new_place()
        both = [actor("a", 1, b"1"), actor("a", 2, b"2", type_="Other")]
        assert await store.flush(at, checkpoint(3), 0, rows(*both))
        names: list[ActorName] = [("Counter", "a"), ("Other", "a")]
        assert (await store.load(at, names)).actors == dict(zip(names, both, strict=True))

    @pytest.mark.parametrize(
        "id_",
        [
            "",
            "a/b%2F?#",
            "quotes ' \" ` $1 \\ \\x00",
            "nul\x00in\x00side",
            "line\nbreak\ttab",
            "e\u0301 is not \u00e9",
            "\u4f60\u597d \U0001f680 \ufffe\uffff",
            "x" * 255,
            "é" * 127 + "x",
        ],
    )
    async def test_ids_have_any_characters(self, store: SnapshotStore, id_: str) -> None:
        """Up to 255 bytes of UTF-8, U+0000 included, and nothing is folded together."""
        at, name = new_place(), ("Counter", id_)
        piece = FlushSlice([actor(id_, 1)], [past(id_, 1, 1)], [key(id_, "k", 1)])
        assert await store.flush(at, checkpoint(2), 0, Slices(piece))
        near = [("Counter", id_ + " "), ("Counter", id_[:-1] + "y"), ("Counter", "\u00e9")]
        loaded = await store.load(at, [name, *near])
        assert loaded == (2, {name: actor(id_, 1)}, {name: [key(id_, "k", 1)]})
        assert await store.history_before(at, name, 1) == past(id_, 1, 1)

    async def test_numbers_have_64_bits(self, store: SnapshotStore) -> None:
        """Offsets and revisions of an old log; a checksum uses all of 32 bits without sign."""
        at, name = new_place(), ("Counter", "a")
        row = actor("a", 2**62)._replace(revision=2**62, version=2**31 - 1)
        assert await store.flush(at, checkpoint(2**59), 0, rows(row))
        assert await store.load(at, [name]) == (2**59, {name: row}, {})

    async def test_states_have_4_mib(self, store: SnapshotStore) -> None:
        """In the newest snapshot and in history; it does not compress."""
        at, name = new_place(), ("Counter", "a")
        state = b"".join(number.to_bytes(4) for number in range(2**20))
        piece = FlushSlice([actor("a", 1, state)], [past("a", 1, 1, state)])
        assert await store.flush(at, checkpoint(2), 0, Slices(piece))
        assert (await store.load(at, [name])).actors[name].state == state
        found = await store.history_before(at, name, 1)
        assert found is not None
        assert found.state == state

    async def test_many_rows_in_many_slices(self, store: SnapshotStore) -> None:
        """Several thousand actors with their keys, twice, and some in between unchanged."""
        at = new_place()
        everyone = [actor(f"a{number}", number, b"1") for number in range(3_000)]
        keys = [key(row.id, "k", row.offset) for row in everyone]
        assert await store.flush(at, checkpoint(3_000), 0, _sliced(everyone, keys, 250))
        third = [row._replace(offset=row.offset + 3_000, state=b"2") for row in everyone[::3]]
        assert await store.flush(at, checkpoint(6_000), 3_000, _sliced(third, [], 100))

        names = [("Counter", row.id) for row in everyone]
        expected = {("Counter", row.id): row for row in (*everyone, *third)}
        assert await store.load(at, names) == (
            6_000,
            expected,
            {("Counter", row.id): [row] for row in keys},
        )

    async def test_partitions_and_systems_are_apart(self, open_store: OpenStore) -> None:
        """The same topic's other partition, the same partition of another topic and system."""
        demo, other = open_store("demo"), open_store("other")
        at = new_place()
        places = [
            (demo, at),
            (demo, new_place()),
            (demo, TopicPartition("spawn.demo.Other", at.partition)),
            (other, at),
        ]
        name = ("Counter", "a")
        for number, (store, place) in enumerate(places, 1):
            piece = FlushSlice(
                [actor("a", number)], [past("a", 1, number)], [key("a", "k", number)]
            )
            assert await store.flush(place, checkpoint(number + 10), 0, Slices(piece))

        assert await demo.discard(at)

        assert await demo.load(at, [name]) == (0, {}, {})
        assert await demo.history_before(at, name, 1) is None
        for number, (store, place) in enumerate(places[1:], 2):
            assert await store.checkpoint(place) == checkpoint(number + 10)
            assert await store.load(place, [name]) == (
                number + 10,
                {name: actor("a", number)},
                {name: [key("a", "k", number)]},
            )
            assert await store.history_before(place, name, 1) == past("a", 1, number)

    async def test_after_a_discard_all_begins_again(self, store: SnapshotStore) -> None:
        """Also for another log, and with lower offsets than before."""
        at, name = new_place(), ("Counter", "a")
        piece = FlushSlice([actor("a", 90)], [past("a", 9, 90)], [key("a", "k", 90)])
        assert await store.flush(at, checkpoint(100), 0, Slices(piece))
        assert await store.discard(at)
        assert not await store.discard(at)
        assert await store.checkpoint(at) is None
        assert not await store.flush(at, checkpoint(101), 100, Slices())
        assert await store.flush(at, checkpoint(2, OTHER_LOG), 0, rows(actor("a", 1)))
        assert await store.checkpoint(at) == checkpoint(2, OTHER_LOG)
        assert await store.load(at, [name]) == (2, {name: actor("a", 1)}, {})
        assert await store.history_before(at, name, 100) is None

    async def test_rows_without_a_usable_state_are_listed(self, store: SnapshotStore) -> None:
        """Page by page, and no others."""
        at = new_place()
        assert await store.unusable(at, limit=10) == []
        bad = [actor(id_, 5 + n)._replace(version=NO_STATE) for n, id_ in enumerate("ace")]
        good = [actor(id_, 9) for id_ in "bdf"]
        assert await store.flush(at, checkpoint(20), 0, rows(*bad, *good))
        listed = [ActorListing(row.type, row.id, row.revision, row.offset, False) for row in bad]
        assert await store.unusable(at, limit=10) == listed
        assert await store.unusable(at, limit=2) == listed[:2]
        assert await store.unusable(at, after=("Counter", "a"), limit=10) == listed[1:]

    async def test_a_checkpoint_is_given_to_another_log(self, store: SnapshotStore) -> None:
        """If it is still the one that is meant; flushes of the other log then go on from it."""
        at = new_place()
        stored = checkpoint(10)
        assert not await store.relabel(at, stored, OTHER_LOG)
        assert await store.flush(at, stored, 0, rows(actor("a", 5)))
        assert not await store.relabel(at, replace(stored, offset=9), OTHER_LOG)
        assert not await store.relabel(at, replace(stored, claim=b"x" * 16), OTHER_LOG)
        assert await store.relabel(at, stored, OTHER_LOG)
        assert await store.relabel(at, stored, OTHER_LOG)
        assert await store.checkpoint(at) == replace(stored, log_id=OTHER_LOG)
        assert not await store.flush(at, checkpoint(20), 10, rows())
        assert await store.flush(at, checkpoint(20, OTHER_LOG), 10, rows(actor("b", 15)))
        assert len(await store.actors(at, limit=10)) == 2

    async def test_a_topic_is_forgotten_and_no_other(self, open_store: OpenStore) -> None:
        """Not one whose name begins alike, nor the same topic of another system."""
        shop, shop2 = open_store("shop"), open_store("shop2")
        await shop.migrate()
        topic = f"spawn.shop.T{next(_partitions)}"
        places = [TopicPartition(topic, 0), TopicPartition(topic, 1)]
        other = TopicPartition(f"{topic}0", 0)
        piece = FlushSlice([actor("a", 5)], [past("a", 4, 3)], [key("a", "k", 5)])
        for store, at in [(shop, places[0]), (shop, places[1]), (shop, other), (shop2, places[0])]:
            assert await store.flush(at, checkpoint(6), 0, Slices(piece))
        assert {topic, other.topic} <= set(await shop.topics())
        assert await shop.forget(topic)
        assert not await shop.forget(topic)
        assert topic not in await shop.topics()
        name = ("Counter", "a")
        for at in places:
            assert await shop.load(at, [name]) == (0, {}, {})
            assert await shop.history_before(at, name, 9) is None
        assert (await shop.load(other, [name])).checkpoint == 6
        assert (await shop2.load(places[0], [name])).checkpoint == 6
        assert await shop.flush(places[0], checkpoint(2, OTHER_LOG), 0, rows(actor("a", 1)))

    async def test_history_gives_the_nearest_row_below(self, store: SnapshotStore) -> None:
        """Of that actor and type; a deleted actor's state is None."""
        at, name = new_place(), ("Counter", "a")
        history = [past("a", 64, 70), past("a", 128, 140, None), past("b", 100, 99)]
        history.append(past("a", 100, 99)._replace(type="Other"))
        assert await store.flush(at, checkpoint(200), 0, Slices(FlushSlice([], history)))
        expected = {63: None, 64: history[0], 127: history[0], 128: history[1], 2**62: history[1]}
        for revision, row in expected.items():
            assert await store.history_before(at, name, revision) == row
        assert await store.history_before(new_place(), name, 64) is None

    async def test_several_flushes_run_at_once(self, store: SnapshotStore) -> None:
        """More partitions than connections, each with some slices."""
        places = [new_place() for _ in range(12)]
        applied = await asyncio.gather(
            *(
                store.flush(at, checkpoint(2), 0, Slices(*[FlushSlice([actor("a", 1)])] * 3))
                for at in places
            )
        )
        assert applied == [True] * 12
        loads = await asyncio.gather(*(store.load(at, [("Counter", "a")]) for at in places * 5))
        assert all(loaded.checkpoint == 2 and loaded.actors for loaded in loads)


def _sliced(actors: Sequence[ActorRow], keys: Sequence[KeyRow], size: int) -> Slices:
    return Slices(
        *(
            FlushSlice(actors[start : start + size], keys=keys[start : start + size])
            for start in range(0, len(actors), size)
        )
    )
