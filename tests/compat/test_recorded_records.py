"""Records written by earlier releases are read as they were meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eventstore.codec import decode_claim_body, decode_commit_body
from eventstore.records import Claim, Commit, decode_prefix

RECORDED = json.loads((Path(__file__).parent / "logs" / "records-0.1.json").read_text("utf-8"))


@pytest.mark.parametrize("entry", RECORDED, ids=lambda entry: entry["name"])
def test_recorded_bytes_read_as_recorded(entry: dict[str, str]) -> None:
    """Prefix and body of each recorded value have the recorded content."""
    value = bytes.fromhex(entry["value"])
    prefix = decode_prefix(value)
    assert repr(prefix) == entry["prefix"]
    if isinstance(prefix, Commit):
        assert repr(decode_commit_body(value, prefix.body_at)) == entry["body"]
    elif isinstance(prefix, Claim):
        assert repr(decode_claim_body(value, prefix.body_at)) == entry["body"]
