"""What peers of other releases say is read as it was meant: of earlier ones, and of the next.

`mesh-1.json` is recorded. `mesh-next.json` is made up: what a next release may say to this one.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spawn.mesh.conversation import Conversation
from spawn.mesh.greeting import objection, spoken
from spawn.mesh.link import Ending, MeshCounts
from spawn.mesh.wire import (
    LEAST_VERSION,
    VERSION,
    Bye,
    Hello,
    Invoke,
    Ping,
    Reply,
    decode_frame,
    encode_frame,
)
from tests.services.mesh_receiver import KeepingReceiver

WIRE = Path(__file__).parent / "wire"
RECORDED = json.loads((WIRE / "mesh-1.json").read_text("utf-8"))
NEXT = {each["name"]: each for each in json.loads((WIRE / "mesh-next.json").read_text("utf-8"))}
OURS = Hello(VERSION, LEAST_VERSION, "shop", "aa", "10.0.0.4:9101", "0.1.0")


@pytest.mark.parametrize("entry", RECORDED, ids=lambda entry: entry["name"])
def test_recorded_frames_read_as_recorded(entry: dict[str, str]) -> None:
    """Each recorded frame has the recorded messages."""
    assert repr(decode_frame(bytes.fromhex(entry["frame"]))) == entry["messages"]


@pytest.mark.parametrize("entry", RECORDED, ids=lambda entry: entry["name"])
def test_this_release_says_it_in_the_same_bytes(entry: dict[str, str]) -> None:
    """While the protocol is the recorded one; delete this test with the next."""
    frame = bytes.fromhex(entry["frame"])
    assert encode_frame(decode_frame(frame)) == frame


@pytest.mark.parametrize("entry", NEXT.values(), ids=lambda entry: entry["name"])
def test_frames_of_the_next_release_read_without_what_is_new(entry: dict[str, str]) -> None:
    """Fields at the end of messages, and of parts of them; kinds that may be ignored."""
    assert repr(decode_frame(bytes.fromhex(entry["frame"]))) == entry["messages"]


class _Link:
    """Our end of a link, and what its node is told."""

    def __init__(self, *, opens: bool) -> None:
        self.told = KeepingReceiver()
        endpoint = "10.0.0.5:9101" if opens else ""
        self.link = Conversation(
            OURS, self.told, MeshCounts(), lambda: None, 0.0, endpoint=endpoint
        )

    def hears(self, name: str) -> None:
        """Take a frame of the next release."""
        self.link.receive(bytes.fromhex(NEXT[name]["frame"]))

    def says(self) -> list[object]:
        """Return all messages that are to be sent."""
        messages: list[object] = []
        while (frame := self.link.cut()) is not None:
            messages += decode_frame(frame)
        return messages


@pytest.mark.parametrize("opens", [True, False])
def test_a_peer_one_version_ahead_that_speaks_ours_is_talked_with(opens: bool) -> None:
    """In ours; what is new in what it says is passed over, its requests are answered."""
    end = _Link(opens=opens)
    end.hears("hello")
    assert end.says() == [OURS]
    assert end.link.peer is not None
    assert spoken(OURS, end.link.peer) == VERSION
    end.hears("requests")
    request, _, *others = end.told.messages
    assert isinstance(request, Invoke)
    assert request.request is not None
    assert request.request.n == 12
    assert others == []
    assert Reply(1, b'{"n":5}', 1, 0, 0) in end.says()
    end.hears("only ignorable")
    end.link.post(Ping(3))
    assert end.says() == [Ping(3)]
    end.hears("bye")
    assert end.link.ended is not None
    assert end.link.ended.ending is Ending.CLOSED


@pytest.mark.parametrize("opens", [True, False])
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("hello, two versions ahead", "it speaks mesh protocol 2 to 3 (release 0.3.0), and this"),
        ("hello, too old", "it speaks mesh protocol 0 to 0 (release 0.0.9), and this"),
    ],
)
def test_neither_ours_nor_the_one_before_is_refused_with_the_reason(
    opens: bool, name: str, says: str
) -> None:
    """It learns the reason by a message that every version reads."""
    end = _Link(opens=opens)
    end.hears(name)
    *_, bye = end.says()
    assert isinstance(bye, Bye)
    assert bye.reason == "version"
    assert bye.text.startswith(says)
    assert bye.text.endswith("upgrade one release at a time")
    assert end.link.ended is not None
    assert end.link.ended.ending is Ending.PROTOCOL
    assert not end.told.messages


def test_a_refusal_by_a_newer_peer_is_told_by_its_reason() -> None:
    """A word that this release does not know is told as it came."""
    end = _Link(opens=True)
    end.hears("refusal")
    assert end.link.ended is not None
    assert end.link.ended.ending is Ending.DENIED
    assert end.link.ended.reason == "no-longer"
    assert "0.2.0 needs more" in end.link.ended.text


@pytest.mark.parametrize("ahead", [0, 1, 2, 3])
def test_each_release_talks_with_the_one_before_and_no_other(ahead: int) -> None:
    """From both ends, whatever the versions will be."""
    ours = Hello(7, 6, "shop", "aa", "a:1", "now")
    theirs = Hello(7 + ahead, 6 + ahead, "shop", "bb", "b:1", "later")
    for one, other in ((ours, theirs), (theirs, ours)):
        against = objection(one, other)
        assert (against is None) == (ahead <= 1)
        if against is None:
            assert spoken(one, other) == 7
