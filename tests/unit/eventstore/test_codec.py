"""Bodies and prefixes: what is written by hand equals what fastavro writes, and reads back."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore.codec import (
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
from eventstore.errors import UnreadableBody, UnreadablePrefix
from eventstore.records import (
    FINGERPRINT_BYTES,
    Barrier,
    Cause,
    Claim,
    Commit,
    Flag,
    LinkNumber,
    Release,
    RequestNumber,
    TimerFiring,
    UserKey,
    decode_prefix,
    encode_barrier,
    encode_claim,
    encode_commit,
    encode_release,
)
from schemas.registry import platform_schema

pytestmark = pytest.mark.timeout(60)

FINGERPRINTS = st.binary(min_size=8, max_size=8)
IDS = st.binary(min_size=16, max_size=16)
NUMBERS = st.integers(0, 2**63 - 1)
SIGNED = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(max_size=200)
EVENTS = st.lists(st.tuples(TEXTS, FINGERPRINTS, st.binary(max_size=2000)), max_size=4)
STATES = st.none() | st.tuples(FINGERPRINTS, st.binary(max_size=2000))
REFUSALS = st.none() | st.tuples(TEXTS, TEXTS)
METADATA = st.none() | st.dictionaries(TEXTS, TEXTS, max_size=3)


@settings(max_examples=200)
@given(
    TEXTS, st.binary(max_size=2000), EVENTS, STATES, st.binary(), REFUSALS, TEXTS, TEXTS, METADATA
)
def test_the_handwritten_commit_body_equals_fastavro(
    action: str,
    payload: bytes,
    events: list[tuple[str, bytes, bytes]],
    state: tuple[bytes, bytes] | None,
    reply: bytes,
    refusal: tuple[str, str] | None,
    key: str,
    caller: str,
    metadata: dict[str, str] | None,
) -> None:
    """Byte for byte, whatever the fields hold; and reading finds the same again."""
    written = encode_commit_body(
        action, payload, events, state, reply, refusal, key, caller, metadata
    )
    schema = platform_schema("commit_body")
    record: dict[str, Any] = {
        "action": action,
        "payload": payload,
        "payload_type": "",
        "events": [{"name": n, "schema": s, "data": d} for n, s, d in events],
        "state": None if state is None else {"schema": state[0], "data": state[1]},
        "reply": reply,
        "reply_type": "",
        "refusal": None if refusal is None else {"code": refusal[0], "message": refusal[1]},
        "key": key,
        "caller": caller,
        "metadata": metadata or {},
        "trace": "",
    }
    expected = io.BytesIO()
    fastavro.schemaless_writer(expected, schema.parsed, record)
    assert written == schema.fingerprint + expected.getvalue()
    body = decode_commit_body(b"prefix" + written, 6)
    assert (body.action, body.payload, body.reply, body.caller) == (action, payload, reply, caller)
    assert (list(body.events), body.state, body.refusal) == (events, state, refusal)
    assert (body.key, body.metadata) == (key, metadata or {})
    effect = read_effect(b"prefix" + written, 6)
    assert (list(effect.events), effect.state) == (events, state)


@given(st.binary(max_size=300))
def test_garbled_bodies_are_unreadable_never_anything_else(garbage: bytes) -> None:
    """Whatever bytes stand behind a right fingerprint: an effect, or UnreadableBody."""
    value = platform_schema("commit_body").fingerprint + garbage
    for read in (read_effect, decode_commit_body):
        try:
            read(value, 0)
        except UnreadableBody:
            pass


@settings(max_examples=200)
@given(st.data())
def test_a_commit_prefix_reads_back_as_it_was_written(data: st.DataObject) -> None:
    """All fields and optional sections survive, and the body starts where it says."""
    cause = data.draw(st.sampled_from(list(Cause)))
    request = data.draw(
        st.none()
        | st.builds(RequestNumber, IDS, NUMBERS, NUMBERS, st.integers(-(2**63), 2**63 - 1))
    )
    key = data.draw(st.none() | st.builds(UserKey, IDS, IDS))
    repeats = data.draw(st.integers(-1000, 2**62))
    flags = (
        (Flag.REQUEST if request else 0)
        | (Flag.KEY if key else 0)
        | (Flag.REPEATS if repeats else 0)
    )
    commit = Commit(
        data.draw(IDS),
        data.draw(st.integers(0, 2**32 - 1)),
        data.draw(NUMBERS),
        data.draw(NUMBERS),
        data.draw(SIGNED),
        data.draw(SIGNED),
        data.draw(st.integers(1, 5)),
        cause,
        flags,
        data.draw(st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,62}", fullmatch=True)).encode(),
        request,
        data.draw(st.builds(LinkNumber, IDS, NUMBERS)) if cause is Cause.MESSAGE else None,
        data.draw(
            st.builds(TimerFiring, TEXTS.filter(lambda t: len(t.encode()) < 256), NUMBERS, NUMBERS)
        )
        if cause is Cause.TIMER
        else None,
        key,
        repeats,
    )
    body = b"f" * FINGERPRINT_BYTES + data.draw(st.binary(max_size=20))
    value = encode_commit(commit, body)
    found = decode_prefix(value)
    assert isinstance(found, Commit)
    assert value[found.body_at :] == body
    fields = [name for name in Commit.__struct_fields__ if name != "body_at"]
    assert [getattr(found, n) for n in fields] == [getattr(commit, n) for n in fields]


def test_rare_records_read_back_as_they_were_written() -> None:
    """Claim with skips, Release and Barrier."""
    claim = Claim(b"c" * 16, 7, b"b" * 16, b"l" * 16, (3, 2**40))
    found = decode_prefix(encode_claim(claim, b"body"))
    assert isinstance(found, Claim)
    assert (found.claim, found.epoch, found.based_on) == (claim.claim, 7, claim.based_on)
    assert (found.log_id, found.skips) == (claim.log_id, (3, 2**40))
    released = decode_prefix(encode_release(Release(b"c" * 16, 7, 42)))
    assert isinstance(released, Release)
    assert (released.claim, released.epoch, released.sequence) == (b"c" * 16, 7, 42)
    assert isinstance(decode_prefix(encode_barrier(Barrier(b"c" * 16, 7))), Barrier)


@pytest.mark.parametrize("value", [None, b"", b"hello", b"\xe5"])
def test_records_without_our_magic_are_not_ours(value: bytes | None) -> None:
    """They are void to every reader, not an error."""
    assert decode_prefix(value) is None


@pytest.mark.parametrize(
    "value",
    [
        b"\xe5S",
        b"\xe5S\x01",
        b"\xe5S\x02\x02",
        b"\xe5S\x01\x09" + bytes(60),
        b"\xe5S\x01\x02" + bytes(30),
    ],
)
def test_our_magic_with_an_unreadable_prefix_is_an_error(value: bytes) -> None:
    """Cut short, or of an unknown version or kind: it might have been valid."""
    with pytest.raises(UnreadablePrefix):
        decode_prefix(value)


@given(st.binary(max_size=200))
def test_no_bytes_lead_to_anything_but_a_prefix_or_unreadable(garbage: bytes) -> None:
    """A reader of a garbled log meets one of three outcomes, never another exception."""
    try:
        decode_prefix(b"\xe5S" + garbage)
    except UnreadablePrefix:
        pass


def test_claim_bodies_and_schema_entries_read_back() -> None:
    """What stands in claims and in the schema topic survives."""
    claim = ClaimBody("shop", b"o" * 16, "http://127.0.0.1:9001", "start")
    assert decode_claim_body(encode_claim_body(claim), 0) == claim
    entry = SchemaEntry("Counter", "event", "Added", b"f" * 8, '{"type":"record"}')
    assert decode_schema_entry(encode_schema_entry(entry)) == entry
