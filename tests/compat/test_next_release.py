"""Releases side by side: bodies of records of the next one and of those before are read.

The next release is made up here: this one's schemas with one more field.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import msgspec
import pytest

from eventstore.codec import (
    SHIPPED,
    ClaimBody,
    SchemaEntry,
    decode_claim_body,
    decode_commit_body,
    decode_schema_entry,
    encode_claim_body,
    encode_commit_body,
    encode_schema_entry,
    read_effect,
)
from eventstore.errors import UnknownSchema, UnreadableBody, UnreadablePrefix
from eventstore.log import LogRecord, TopicPartition, TopicSettings
from eventstore.memory_log import MemoryLog
from eventstore.records import (
    NO_CLAIM,
    Cause,
    Claim,
    Commit,
    Flag,
    Outcome,
    decode_prefix,
    encode_claim,
    encode_commit,
)
from eventstore.schema_topic import body_writers, platform_entries, read_schemas, write_schemas
from schemas import (
    PlatformSchema,
    differences,
    parse_platform_schema,
    platform_schema,
    platform_schemas,
)
from spawn.core.fold import Fold

LOGS = Path(__file__).parent / "logs"
TOPIC = "spawn.shop._schemas"
AT = TopicPartition(TOPIC, 0)
EVENT = ("Put", b"12345678", b"\x02a")
BODIES = ["claim_body", "commit_body", "schema_entry"]


def next_schema(name: str, **field: Any) -> PlatformSchema:
    """Return one of this release's schemas with one more field in its middle."""
    schema = json.loads(platform_schema(name).text)
    more = {"name": "mood", "type": "string", "default": "calm", **field}
    schema["fields"].insert(1, more)
    return parse_platform_schema(name, json.dumps(schema))


def written(schema: PlatformSchema, body: dict[str, Any]) -> bytes:
    """Return a body as a release with that schema writes it."""
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, schema.parsed, body)
    return schema.fingerprint + stream.getvalue()


def entry_of(schema: PlatformSchema) -> SchemaEntry:
    """Return what the release with that schema puts into the schema topic."""
    return SchemaEntry("", "body", schema.name, schema.fingerprint, schema.text)


COMMIT = {
    "action": "put",
    "mood": "glad",
    "payload": b"5",
    "events": [{"name": EVENT[0], "schema": EVENT[1], "data": EVENT[2]}],
    "reply": b"1",
    "metadata": {"a": "b"},
}


async def test_bodies_of_the_next_release_are_read_by_what_it_published() -> None:
    """A commit and a claim with a field that this release does not know."""
    log = MemoryLog()
    await log.create({TOPIC: TopicSettings(partitions=1, compacted=True)})
    await write_schemas(log, TOPIC, platform_entries(), 0)
    commit, claim = next_schema("commit_body"), next_schema("claim_body", type="long", default=7)
    await write_schemas(log, TOPIC, [entry_of(commit), entry_of(claim)], 0)
    writers = body_writers(await read_schemas(log, TOPIC))
    value = b"prefix" + written(commit, COMMIT)
    body = decode_commit_body(value, 6, writers)
    assert (body.action, body.payload, body.reply) == ("put", b"5", b"1")
    assert (list(body.events), body.state, body.metadata) == ([EVENT], None, {"a": "b"})
    assert read_effect(value, 6, writers) == ([EVENT], None)
    wrote = {"system": "shop", "owner": b"o" * 16, "endpoint": "e", "reason": "start", "mood": 9}
    assert decode_claim_body(written(claim, wrote), 0, writers) == ClaimBody(
        "shop", b"o" * 16, "e", "start"
    )


def test_without_it_the_missing_schema_is_named() -> None:
    """So that somebody can look for it."""
    schema = next_schema("commit_body")
    for read in (decode_commit_body, read_effect):
        with pytest.raises(UnknownSchema, match=schema.fingerprint.hex()) as caught:
            read(written(schema, COMMIT), 0)
        assert caught.value.fingerprint == schema.fingerprint


@pytest.mark.parametrize("order", [1, -1])
async def test_entries_of_the_next_release_are_read_too(order: int) -> None:
    """It says in today's form how its own entries are written; compaction may move that behind."""
    log = MemoryLog()
    await log.create({TOPIC: TopicSettings(partitions=1, compacted=True)})
    schema = next_schema("schema_entry")
    theirs = {"type": "Cart", "role": "event", "name": "Put", "schema": '"int"', "mood": "glad"}
    records = [
        LogRecord(b"1", encode_schema_entry(entry_of(schema))),
        LogRecord(b"2", written(schema, {**theirs, "fingerprint": b"12345678"})),
    ]
    await log.append(AT, records[::order], 0)
    found = await read_schemas(log, TOPIC)
    assert SchemaEntry("Cart", "event", "Put", b"12345678", '"int"') in found
    assert len(found) == 2


async def test_an_entry_that_nobody_explains_is_refused_with_its_place() -> None:
    """A release wrote it that did not keep to the rule."""
    log = MemoryLog()
    await log.create({TOPIC: TopicSettings(partitions=1, compacted=True)})
    schema = next_schema("schema_entry")
    theirs = {"type": "Cart", "role": "event", "name": "Put", "schema": '"int"'}
    value = written(schema, {**theirs, "fingerprint": b"12345678"})
    await log.append(AT, [LogRecord(b"1", value)], 0)
    with pytest.raises(UnreadableBody, match=f"_schemas/0@0 is .*{schema.fingerprint.hex()}"):
        await read_schemas(log, TOPIC)


def test_a_schema_under_the_wrong_fingerprint_is_refused() -> None:
    """Bodies read with it would be misread."""
    entry = entry_of(next_schema("commit_body"))
    for wrong in (
        changed_entry(entry, fingerprint=b"12345678"),
        changed_entry(entry, schema="{}"),
    ):
        with pytest.raises(UnreadableBody, match="commit_body"):
            body_writers([wrong])


def changed_entry(entry: SchemaEntry, **changed: Any) -> SchemaEntry:
    """Return a changed entry."""
    return msgspec.structs.replace(entry, **changed)


def test_a_body_of_another_kind_is_refused() -> None:
    """Its fingerprint is known, but it does not belong there."""
    claim = encode_claim_body(ClaimBody("shop", b"o" * 16, "", "start"))
    with pytest.raises(UnreadableBody, match="a claim_body, where a commit_body belongs"):
        decode_commit_body(claim, 0)


# --- what was written before ------------------------------------------------------------------


RECORDED = json.loads((LOGS / "bodies-before.json").read_text("utf-8"))


@pytest.mark.parametrize("entry", RECORDED, ids=lambda entry: entry["name"])
def test_recorded_bodies_of_earlier_schemas_are_read(entry: dict[str, str]) -> None:
    """As they were meant."""
    assert repr(decode_schema_entry(bytes.fromhex(entry["value"]))) == entry["body"]


def test_every_schema_of_the_package_is_read_by_today_s() -> None:
    """And the names are those of bodies that there are."""
    assert {schema.name for schema in platform_schemas().values()} == set(BODIES)
    for schema in platform_schemas().values():
        now = platform_schema(schema.name)
        assert differences(json.loads(schema.text), json.loads(now.text)) == []
        assert SHIPPED[schema.fingerprint] is schema


@pytest.mark.parametrize(
    ("name", "fingerprint"),
    [
        ("claim_body", "65ae293b84ebfb63"),
        ("commit_body", "5d24cfc687b8ce84"),
        ("schema_entry", "b213506f05f119bf"),
    ],
)
def test_a_schema_that_changes_leaves_the_one_before_in_the_package(
    name: str, fingerprint: str
) -> None:
    """Add the new fingerprint here, and what it was before as `NAME.N.avsc`."""
    assert platform_schema(name).fingerprint.hex() == fingerprint
    assert bytes.fromhex(fingerprint) in SHIPPED


# --- what must not be passed over ---------------------------------------------------------------


def test_a_commit_with_more_effects_than_this_release_has_stops_the_fold() -> None:
    """Under a flag that must be known; a void one, and one that may be passed over, does not."""
    claim = Claim(b"c" * 16, 1, NO_CLAIM, b"l" * 16)
    body = encode_commit_body("put", b"5", [EVENT], None, b"1", None, "", "", None)

    def commit(flags: int, sequence: int, claim_id: bytes = claim.claim) -> bytes:
        fields = (claim_id, 1, sequence, 1, 1, 0, Outcome.APPLIED, Cause.REQUEST, flags, b"Cart")
        return encode_commit(Commit(*fields), body)

    first = encode_claim(claim, encode_claim_body(ClaimBody("shop", b"o" * 16, "", "start")))
    values = [first, commit(0x8000, 0), commit(Flag.OUTBOX, 0), commit(Flag.OUTBOX, 1)]
    log = [StoredBytes(offset, value) for offset, value in enumerate(values)]
    fold = Fold()
    assert fold.step(log[0]) is None
    assert len(fold.run(log, 1, {b"Cart": "table"})) == 1
    assert fold.step(log[2]) is None
    assert not fold.run(log, 3, {b"Cart": "table"})
    with pytest.raises(UnreadablePrefix, match=r"offset 3: the commit has flags 0x40.*a later one"):
        fold.step(log[3])
    assert isinstance(decode_prefix(values[3]), Commit)


class StoredBytes:
    """A record of the log."""

    def __init__(self, offset: int, value: bytes) -> None:
        self.offset = offset
        self.key: bytes | None = b"a"
        self.value: bytes | None = value
