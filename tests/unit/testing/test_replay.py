"""The forced replay: what a kit finds in types that are not sound."""

import pytest

from examples.counter import Added, Counter
from spawn.errors import ReplayDiffers
from spawn.testing import Kit
from tests.unit.testing import diary
from tests.unit.testing.diary import (
    ForgetfulBox,
    Impure,
    Moody,
    NotNumber,
    Put,
    Registry,
    Unstorable,
)


async def test_an_impure_evolve_is_found() -> None:
    """The error names both states, the event, the place and the revision."""
    with pytest.raises(ReplayDiffers) as found:
        await Kit(Impure).when(Impure.put, 3)
    error = found.value
    assert error.code == "replay-differs"
    live, replayed = error.message.removeprefix("replay gives another state: ").split(", ")
    assert live.startswith("live stamp=")
    assert replayed.startswith("replayed stamp=")
    line = Impure.evolve.__code__.co_firstlineno
    assert error.at == f"diary.py:{line} evolve(Put(n=3)), Impure/a revision 1"
    assert error.hint == (
        "evolve may use only its two arguments (no clock, no random, no outside data)"
    )
    assert error.__notes__ == [f"at:   {error.at}", f"hint: {error.hint}"]


def test_an_impure_evolve_is_found_in_what_is_given() -> None:
    """Before any action runs."""
    with pytest.raises(ReplayDiffers, match="replay gives another state"):
        Kit(Impure).given(Put(1))


async def test_an_evolve_that_raises_in_replay_is_found() -> None:
    """Though the live run went well."""
    if next(diary.ticks) % 2:
        next(diary.ticks)
    with pytest.raises(ReplayDiffers, match="replay fails where the live run did not") as found:
        await Kit(Moody).when(Moody.put, 3)
    assert "RuntimeError on Put(n=3): not again" in found.value.message


async def test_a_state_that_its_snapshot_changes_is_found() -> None:
    """Event-sourced or not: after a restart it would be another one."""
    with pytest.raises(ReplayDiffers, match="live made="):
        await Kit(Unstorable).when(Unstorable.put, 3)
    with pytest.raises(ReplayDiffers, match="live made=") as found:
        await Kit(ForgetfulBox).when(ForgetfulBox.put, 3)
    assert "every field must come back equal" in found.value.hint
    assert "Forgetful, ForgetfulBox/a revision 1" in found.value.at


async def test_a_restart_that_brings_another_state_is_found() -> None:
    """What is loaded is compared before an action runs on it."""
    kit = Kit(Registry)
    await kit.when(Registry.put, 3)
    diary.factor = 2
    try:
        kit.restart(snapshot=False)
        with pytest.raises(ReplayDiffers, match=r"a restart .*live total=3, loaded total=6"):
            await kit.when(Registry.put, 1)
    finally:
        diary.factor = 1
    assert (await kit.restart().when(Registry.put, 1)).state.total == 4


async def test_a_number_that_is_not_equal_to_itself_is_no_difference() -> None:
    """States are the same when they are stored as the same bytes."""
    await Kit(NotNumber).when(NotNumber.put, 3)


async def test_a_long_life_is_replayed_from_its_start_now_and_then() -> None:
    """Each commit is replayed once, all of them again every 50."""
    kit = Kit(Counter).given(*[Added(1)] * 60)
    for _ in range(60):
        await kit.when(Counter.add, 1)
    assert kit.state.total == 120
    assert kit.revision == 120
