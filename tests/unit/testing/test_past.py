"""A real actor's past in a kit, from what `spawn events --json` printed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from examples.counter import Added, Counter, Total
from spawn.testing import Kit
from tests.unit.testing.diary import Box, Sum

_NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
_PRINTED = """\
{"revision":1,"time":"2026-03-01T12:00:00Z","events":[{"name":"Added","fields":{"n":5}},\
{"name":"Added","fields":{"n":1}}],"outcome":"applied"}
{"revision":1,"time":"2026-03-01T12:00:01Z","events":[],"outcome":"rejected"}

{"revision":2,"time":"2026-03-01T12:00:02Z","events":[{"name":"Added","fields":{"n":-2}}]}
""".splitlines()


async def test_a_printed_history_is_an_actors_past(tmp_path: Path) -> None:
    """As lines and as a file; commit by commit, up to the time of the last one."""
    kit = Kit(Counter).given_history(_PRINTED)
    assert (kit.revision, kit.state, kit.clock.now) == (2, Total(4), _NOON + timedelta(seconds=2))
    assert kit.events == [Added(5), Added(1), Added(-2)]
    assert (await kit.when(Counter.add, 1)).reply == 5
    file = tmp_path / "a.jsonl"
    file.write_text("\n".join(_PRINTED), encoding="utf-8")
    assert Kit(Counter).given_history(file).state == Total(4)
    assert Kit(Counter).given_history(str(file)).state == Total(4)


def test_the_list_of_a_node_is_a_history_too() -> None:
    """Newest first, deletions and set states included."""
    box = (
        '[{"revision":3,"time":"2026-03-01T12:00:02Z","events":[],"state":{"total":9}},'
        '{"revision":2,"time":"2026-03-01T12:00:01Z","events":[],"deleted":true},'
        '{"revision":1,"time":"2026-03-01T12:00:00Z","events":[],"state":{"total":5}}]'
    )
    kit = Kit(Box).given_history([box])
    assert (kit.revision, kit.state) == (3, Sum(9))


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("x", "line 1 is not JSON"),
        ("{}", "line 1 is no record of a history"),
        (_PRINTED[0].replace("Added", "Gone"), "no event Gone; it has Added"),
        (_PRINTED[0].replace('"n":5', '"n":"5"'), "line 1: Added: `n` must be an integer"),
    ],
)
def test_a_history_that_does_not_fit_is_told(line: str, text: str) -> None:
    """By line."""
    with pytest.raises(ValueError, match=text):
        Kit(Counter).given_history([line])
