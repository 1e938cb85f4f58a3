"""What a peer of an earlier release said is read as it was meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spawn.mesh.wire import decode_frame, encode_frame

RECORDED = json.loads((Path(__file__).parent / "wire" / "mesh-1.json").read_text("utf-8"))


@pytest.mark.parametrize("entry", RECORDED, ids=lambda entry: entry["name"])
def test_recorded_frames_read_as_recorded(entry: dict[str, str]) -> None:
    """Each recorded frame has the recorded messages."""
    assert repr(decode_frame(bytes.fromhex(entry["frame"]))) == entry["messages"]


@pytest.mark.parametrize("entry", RECORDED, ids=lambda entry: entry["name"])
def test_this_release_says_it_in_the_same_bytes(entry: dict[str, str]) -> None:
    """While the protocol is the recorded one; delete this test with the next."""
    frame = bytes.fromhex(entry["frame"])
    assert encode_frame(decode_frame(frame)) == frame
