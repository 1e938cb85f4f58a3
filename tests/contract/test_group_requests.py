"""What a member makes of the coordinator's rarer answers, and of none."""

from collections.abc import AsyncIterator

import pytest

from eventstore.errors import GroupRefused
from eventstore.kafka_group import GroupTimes
from tests.contract.group_contract import Participant, Taking, until
from tests.contract.group_kafka import KafkaGroup
from tests.contract.scripted_coordinator import ScriptedCoordinator

_LOADING, _NOT_AVAILABLE, _NOT_COORDINATOR = 14, 15, 16
_ILLEGAL_GENERATION, _UNKNOWN_MEMBER, _SESSION_TIMEOUT, _REBALANCE = 22, 25, 26, 27
_NOT_ALLOWED, _MEMBER_ID_REQUIRED, _UNKNOWN = 30, 79, -1


@pytest.fixture
async def broker() -> AsyncIterator[ScriptedCoordinator]:
    """A broker that coordinates."""
    async with ScriptedCoordinator() as broker:
        yield broker


def _group(broker: ScriptedCoordinator, session_s: float = 0.9) -> KafkaGroup:
    group = KafkaGroup(broker.servers)
    group.times = GroupTimes(session_timeout_s=session_s, rebalance_timeout_s=0.2)
    return group


async def _end(taking: Taking) -> None:
    await taking.member.leave()
    await taking.task


@pytest.mark.parametrize("kind", ["FindCoordinator", "JoinGroup", "SyncGroup", "Heartbeat"])
@pytest.mark.parametrize("code", [_LOADING, _NOT_AVAILABLE, _NOT_COORDINATOR, _UNKNOWN])
async def test_what_may_pass_is_tried_again(
    broker: ScriptedCoordinator, kind: str, code: int
) -> None:
    """Under the same member id, and nobody is told of a loss."""
    broker.codes[kind] = [code, code]
    taking = Taking(_group(broker, session_s=6), "a")
    await taking.has("a")
    await until(lambda: broker.count(kind) >= 3 and broker.count("Heartbeat") >= 1)
    await until(lambda: not taking.member.status().failure)
    assert {each.member_id for each in taking.seen.generations} == {"member-1"}
    assert taking.seen.losses == []
    await _end(taking)


async def test_a_coordinator_that_moved_is_followed(broker: ScriptedCoordinator) -> None:
    """The old one says that it is none any more."""
    async with ScriptedCoordinator() as other:
        taking = Taking(_group(broker), "a")
        await until(lambda: broker.count("Heartbeat") >= 1)
        broker.elsewhere = other
        broker.codes["Heartbeat"] = [_NOT_COORDINATOR]
        await until(lambda: other.count("Heartbeat") >= 2)
        assert other.count("JoinGroup") == 0
        assert len(taking.seen.generations) == 1
        await _end(taking)
        assert other.asked[-1] == "LeaveGroup"


@pytest.mark.parametrize("code", [_ILLEGAL_GENERATION, _REBALANCE])
@pytest.mark.parametrize("kind", ["SyncGroup", "Heartbeat"])
async def test_a_generation_that_is_over_is_followed_by_another_join(
    broker: ScriptedCoordinator, kind: str, code: int
) -> None:
    """With the member id that we have: it is no loss."""
    broker.codes[kind] = [code]
    taking = Taking(_group(broker), "a")
    await taking.has("a")
    await until(lambda: broker.count("JoinGroup") == 2 and broker.count("SyncGroup") >= 1)
    await until(lambda: broker.asked[-1] == "Heartbeat")
    assert taking.seen.losses == []
    await _end(taking)


async def test_the_first_join_brings_the_id_for_the_next(broker: ScriptedCoordinator) -> None:
    """So a member whose answer is lost leaves no ghost behind (KIP-394)."""
    broker.codes["JoinGroup"] = [_MEMBER_ID_REQUIRED]
    taking = Taking(_group(broker), "a")
    await taking.has("a")
    assert broker.asked[:4] == ["FindCoordinator", "JoinGroup", "JoinGroup", "SyncGroup"]
    await _end(taking)


async def test_a_heartbeat_without_an_answer_is_followed_by_one_elsewhere(
    broker: ScriptedCoordinator,
) -> None:
    """Within the session, on a new connection, to whoever coordinates then."""
    taking = Taking(_group(broker, session_s=1.5), "a")
    await until(lambda: broker.count("Heartbeat") >= 1)
    broker.codes["Heartbeat"] = [None]
    await until(lambda: broker.count("FindCoordinator") == 2)
    await until(lambda: broker.asked[-1] == "Heartbeat")
    assert taking.seen.losses == []
    beats = [
        connection
        for kind, connection in zip(broker.asked, broker.connections, strict=True)
        if kind == "Heartbeat"
    ]
    assert beats[-1] != beats[0]
    await _end(taking)


async def test_leaving_does_not_queue_behind_a_join(broker: ScriptedCoordinator) -> None:
    """A broker would not look at it before it has answered the join."""
    broker.codes["JoinGroup"] = [_MEMBER_ID_REQUIRED, 0, None]
    taking = Taking(_group(broker, session_s=6), "a")
    await taking.has("a")
    taking.member.rejoin()
    await until(lambda: broker.count("JoinGroup") == 3)
    await _end(taking)
    assert broker.asked[-1] == "LeaveGroup"
    assert broker.connections[-1] != broker.connections[broker.asked.index("JoinGroup")]


async def test_a_goodbye_that_nobody_hears_costs_a_moment_only(
    broker: ScriptedCoordinator,
) -> None:
    """The session ends by itself."""
    taking = Taking(_group(broker), "a")
    await taking.has("a")
    broker.codes["LeaveGroup"] = [None]
    await _end(taking)
    assert taking.member.status().failure.startswith("leaving: ")


@pytest.mark.parametrize("kind", ["FindCoordinator", "JoinGroup"])
async def test_a_group_that_we_may_not_use_is_refused_with_the_mend(
    broker: ScriptedCoordinator, kind: str
) -> None:
    """At the start only."""
    broker.codes[kind] = [_NOT_ALLOWED]
    group = _group(broker)
    with pytest.raises(GroupRefused, match=f"{group.name}: allow READ"):
        await group.member(Participant("a")).run()


async def test_what_is_refused_later_is_told_and_tried_again(broker: ScriptedCoordinator) -> None:
    """A node that serves does not end because somebody changes a right."""
    taking = Taking(_group(broker), "a")
    await taking.has("a")
    broker.codes["Heartbeat"] = [_NOT_ALLOWED] * 3
    await until(lambda: "allow READ" in taking.member.status().failure)
    await until(lambda: not taking.member.status().failure)
    await _end(taking)


async def test_a_broker_that_allows_no_session_time_out_is_refused(
    broker: ScriptedCoordinator,
) -> None:
    """After the longest that we try."""
    broker.codes["JoinGroup"] = [_SESSION_TIMEOUT] * 10
    with pytest.raises(GroupRefused, match=r"group\.min\.session\.timeout\.ms"):
        await _group(broker).member(Participant("a")).run()


async def test_a_member_unknown_while_it_joins_begins_anew(broker: ScriptedCoordinator) -> None:
    """With no id, as at first."""
    taking = Taking(_group(broker), "a")
    await taking.has("a")
    broker.codes["JoinGroup"] = [_UNKNOWN_MEMBER]
    taking.member.rejoin()
    await until(lambda: len(taking.seen.losses) == 1)
    await until(lambda: len(taking.seen.generations) == 2)
    await _end(taking)
