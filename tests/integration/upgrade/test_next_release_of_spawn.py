"""A node of this release on a log that one of the next release has written too.

The next release is made up: bodies of records with one more field, and a flag of the prefix.
"""

from __future__ import annotations

import io
import json
import time
from typing import Any

import fastavro
import pytest

from eventstore.codec import SchemaEntry
from eventstore.fencing import Fence
from eventstore.log import LogRecord, TopicPartition
from eventstore.memory_log import MemoryLog
from eventstore.records import (
    Cause,
    Claim,
    Commit,
    Flag,
    Outcome,
    encode_claim,
    encode_commit,
)
from eventstore.schema_topic import body_writers, read_schemas, write_schemas
from schemas import PlatformSchema, parse_platform_schema, platform_schema
from spawn import System
from spawn.core.ingress import CommitsAsked
from spawn.core.keys import digest_key
from spawn.errors import ActorParked, PartitionStopped
from spawn.provision import ensure_schemas
from spawn.query.inspection import LogReader
from spawn.query.partition_list import list_partitions
from spawn.runtime import schema_book
from spawn.sdk.behavior import ClassBehavior
from tests.integration.upgrade.code import before
from tests.integration.upgrade.rolling import Rolling, ask

NAMES = ("commit_body", "claim_body")


def next_schema(name: str) -> PlatformSchema:
    """Return this release's schema with one more field in front."""
    schema = json.loads(platform_schema(name).text)
    schema["fields"].insert(0, {"name": "mood", "type": "string", "default": "calm"})
    return parse_platform_schema(name, json.dumps(schema))


def body(name: str, **fields: Any) -> bytes:
    """Return a body as the next release writes it."""
    schema, stream = next_schema(name), io.BytesIO()
    fastavro.schemaless_writer(stream, schema.parsed, {"mood": "glad", **fields})
    return schema.fingerprint + stream.getvalue()


class NextRelease:
    """Owns the carts' partition and writes into it."""

    def __init__(self, rolling: Rolling) -> None:
        assert isinstance(rolling.log, MemoryLog)
        self.rolling, self.log = rolling, rolling.log
        self.at = TopicPartition(f"spawn.{rolling.name}.Cart", 0)
        self.claim, self.epoch, self.sequence = b"c" * 16, 1, 0

    async def publish(self) -> None:
        """Put its schemas into the schema topic."""
        entries = [
            SchemaEntry("", "body", each.name, each.fingerprint, each.text)
            for each in map(next_schema, NAMES)
        ]
        await write_schemas(self.log, self.rolling.schemas, entries, 0)

    def take(self, fence: Fence | None = None) -> None:
        """Claim the partition as it is, or as its first owner."""
        fence = fence or Fence(log_id=b"l" * 16)
        self.epoch = fence.epoch + 1
        wrote = {"owner": b"o" * 16, "endpoint": "http://next", "reason": "start"}
        value = body("claim_body", system=self.rolling.name, **wrote)
        claim = Claim(self.claim, self.epoch, fence.claim, fence.log_id)
        self.log.put(self.at, LogRecord(None, encode_claim(claim, value)))

    def put(self, actor: str, item: str, *, flags: int = 0, key: str = "") -> None:
        """Commit the first event of a cart."""
        stored = ClassBehavior(before.Cart).schemas[0]
        put = io.BytesIO()
        schema = fastavro.parse_schema(json.loads(stored.schema))
        fastavro.schemaless_writer(put, schema, {"item": item, "size": "SMALL"})
        event = {"name": "Put", "schema": stored.fingerprint, "data": put.getvalue()}
        payload = json.dumps({"item": item}).encode()
        time_us = time.time_ns() // 1000  # a key is forgotten after a day
        bound = digest_key(key, "put", payload) if key else None
        commit = Commit(
            *(
                self.claim,
                self.epoch,
                self.sequence,
                1,
                time_us,
                0,
                Outcome.APPLIED,
                Cause.REQUEST,
            ),
            flags | (Flag.KEY if bound else 0),
            b"Cart",
            key=bound,
        )
        wrote = body("commit_body", action="put", payload=payload, events=[event], reply=b"1")
        self.log.put(self.at, LogRecord(actor.encode(), encode_commit(commit, wrote)))
        self.sequence += 1


@pytest.fixture
async def next_release(monkeypatch: pytest.MonkeyPatch) -> NextRelease:
    """The next release, on a log in memory on which this one has started before."""
    monkeypatch.setattr(schema_book, "_LOOK_AGAIN_S", 0.0)
    log = MemoryLog()
    rolling = Rolling(log, log)
    await rolling.create()
    behaviors = System(rolling.name, actors=[before.Cart, before.Note]).behaviors
    await ensure_schemas(log, rolling.name, behaviors, 0)
    return NextRelease(rolling)


async def test_claims_and_commits_of_the_next_release_are_gone_on_from(
    next_release: NextRelease,
) -> None:
    """Take-over, actions, history, a repeated key, and what the command line reads."""
    rolling = next_release.rolling
    next_release.take()
    next_release.put("a", "apple", key="k")
    next_release.put("b", "bread", flags=0x8000)
    await next_release.publish()
    async with rolling.node(before, starts=False) as old:
        assert await ask(old, "Cart/a", "put", {"item": "apple"}, key="k") == 1
        assert await ask(old, "Cart/a", "put", {"item": "x"}) == 2
        assert await ask(old, "Cart/b", "items") == ["bread"]
        first, *_ = await old.commits("Cart", "a", CommitsAsked(1, 9, newest_first=False), 5.0)
        assert (first.action, first.events) == ("put", [("Put", b'{"item":"apple","size":"s"}')])
    reader = LogReader(rolling.log, rolling.admin, rolling.store, rolling.name)
    history = await reader.history("Cart", "a", ClassBehavior(before.Cart))
    assert [line.action for line in history.lines] == ["put", "put", "put"]
    assert history.lines[-1].state == {"items": ["apple", "x"]}


async def test_who_claimed_is_read_of_the_next_release_too(next_release: NextRelease) -> None:
    """By the schema topic; without it the address is not known, and nothing fails."""
    next_release.take()
    [line] = await list_partitions(next_release.log, None, {next_release.at.topic: 1})
    assert (line.owner, line.epoch, line.problem) == ("", 1, "")
    await next_release.publish()
    entries = await read_schemas(next_release.log, next_release.rolling.schemas)
    topics = {next_release.at.topic: 1}
    [line] = await list_partitions(next_release.log, None, topics, body_writers(entries))
    assert line.owner == "http://next"


async def test_a_first_claim_that_nobody_can_read_stops_the_partition(
    next_release: NextRelease,
) -> None:
    """Its schema was never published: whose topic is it? It is not said to be another system's."""
    next_release.take()
    async with next_release.rolling.node(before) as old:
        with pytest.raises(PartitionStopped, match="the claim_body was written with schema"):
            await ask(old, "Cart/a", "items")
        await ask(old, "Note/n", "write", "goes on")


async def test_an_actor_with_an_unpublished_body_is_parked(next_release: NextRelease) -> None:
    """Nobody guesses what stands there; the others go on."""
    async with next_release.rolling.node(before) as old:
        assert await ask(old, "Cart/b", "put", {"item": "x"}) == 1
        fence = old._served["Cart"].workers[0].machine.fold.fence
    next_release.take(fence.copy())
    next_release.put("a", "apple")
    async with next_release.rolling.node(before) as old:
        with pytest.raises(ActorParked, match="the commit_body was written with schema"):
            await ask(old, "Cart/a", "items")
        assert await ask(old, "Cart/b", "put", {"item": "y"}) == 2


async def test_an_effect_that_this_release_does_not_have_stops_the_partition(
    next_release: NextRelease,
) -> None:
    """It would be lost with the next checkpoint; nothing is written, other partitions go on."""
    rolling = next_release.rolling
    await next_release.publish()
    next_release.take()
    next_release.put("a", "apple", flags=Flag.OUTBOX)
    _, end = await rolling.log.bounds(next_release.at)
    async with rolling.node(before) as old:
        with pytest.raises(PartitionStopped, match=r"flags 0x40.* a later one wrote it"):
            await ask(old, "Cart/a", "items")
        await ask(old, "Note/n", "write", "goes on")
    assert await rolling.log.bounds(next_release.at) == (0, end)
