"""The consumer group's coordinator on a Kafka broker (design 3.3, 3.4).

Requests of our own over aiokafka's connection: FindCoordinator, JoinGroup, SyncGroup, Heartbeat,
LeaveGroup. A group holds members of one *protocol type* only, and ours is not the consumers': so a
program that uses our group id is refused by the broker, or we are, and say so.

A broker handles the requests of one connection one after the other, and a JoinGroup may wait for
all other members. So a request that is given up takes its connection with it. Whatever else goes
wrong there does too: the next request looks for the coordinator anew. The member id outlives that.

TLS and logins are those of `kafka_log`.

What brokers do besides: Apache Kafka lets the first generation of an empty group wait for 3 s
(group.initial.rebalance.delay.ms), Tansu 0.6 every one, whoever has joined. Nobody should wait for
a generation in order to serve. Tansu counts a member whose first join was cut off until its session
is over, and keeps no group over a restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import errors as kafka
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.group import (
    HeartbeatRequest,
    JoinGroupRequest,
    LeaveGroupRequest,
    SyncGroupRequest,
)

from eventstore.door import Door
from eventstore.errors import GroupRefused, LogNotAdmitted, LogUnavailable
from eventstore.group import (
    GROUP_KIND,
    CoordinatorAway,
    GenerationEnded,
    GroupParticipant,
    Joined,
    MemberUnknown,
)
from eventstore.group_member import GroupMember
from eventstore.kafka_log.admission import told
from eventstore.kafka_log.background import Background
from eventstore.kafka_log.client import Connection
from eventstore.kafka_log.failures import FAILURES, quieten_client, reason
from eventstore.kafka_log.requests import Requests
from eventstore.kafka_log.settings import KafkaSettings

__all__ = ["GroupTimes", "KafkaCoordinator", "kafka_group_member"]

_PROTOCOL: Final = "spawn-1"
"""Members agree on a protocol that all of them name: a release that can't live with `spawn-1` names
another, and one that can live with both names both."""
_GROUP: Final = 0
"""The kind of coordinator that is looked for."""
_SESSIONS_S: Final = (10.0, 30.0, 60.0, 300.0, 1800.0)
"""Tried one after the other where the broker's group.min.session.timeout.ms forbids a shorter one;
it does not tell which it allows."""
_SLACK_S: Final = 2.0
"""Over what the broker may take by its own clock."""
_TOO_LARGE: Final = (
    "; it says so of a group whose members' metadata and assignments are together larger than its"
    " message.max.bytes"
)
_UNHEARD_PART: Final = 3
"""A heartbeat waits for a session's third, so that another connection is tried in the session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupTimes:
    """How long the coordinator waits for members."""

    session_timeout_s: float = 6.0
    """A member that was not heard of for so long is expelled. Six seconds are the least that
    Kafka's default settings allow; it is only the back-stop of failover (design 3.3)."""
    rebalance_timeout_s: float = 3.0
    """A rebalance waits so long for members to join again; who has not is expelled. Nobody has to
    stop anything first, so a member that lives joins with its next heartbeat: longer, and a dead
    one holds up everybody's next assignment; shorter, and a busy loop costs a membership."""


def kafka_group_member(
    settings: KafkaSettings,
    group: str,
    participant: GroupParticipant,
    times: GroupTimes | None = None,
) -> GroupMember:
    """Return a member of a group on Kafka; `run` lets it take part."""
    return GroupMember(KafkaCoordinator(settings, group, times or GroupTimes()), participant)


class KafkaCoordinator:
    """`Coordinator` on Kafka. Made anywhere, used on one event loop; connects when first used."""

    def __init__(self, settings: KafkaSettings, group: str, times: GroupTimes) -> None:
        quieten_client()
        self._settings = settings
        self._group = group
        self._session_s = times.session_timeout_s
        self._rebalance_s = times.rebalance_timeout_s
        self._background = Background()
        self._door: Door[LogNotAdmitted] = Door()
        self._requests: Requests | None = None
        self._connection: Connection | None = None

    @property
    def session_timeout_s(self) -> float:
        return self._session_s

    @property
    def _join_timeout_s(self) -> float:
        """How long a join or sync may take: a member that died meanwhile is waited for first."""
        return self._session_s + self._rebalance_s + _SLACK_S

    async def join(self, member_id: str, metadata: bytes) -> Joined:
        while True:
            answer = await self._ask(self._join_request(member_id, metadata), self._join_timeout_s)
            error = kafka.for_code(answer.error_code)
            if error is kafka.MemberIdRequired:  # the first join is told an id to join with
                member_id = answer.member_id
            elif error is kafka.InvalidSessionTimeoutError:
                self._session_s = self._longer_session_s()
            else:
                self._check(error)
                break
        return Joined(answer.generation_id, answer.member_id, _members(answer))

    def _join_request(self, member_id: str, metadata: bytes) -> JoinGroupRequest:
        return JoinGroupRequest(
            self._group,
            int(self._session_s * 1000),
            int(self._rebalance_s * 1000),
            member_id,
            None,  # no static membership: its members don't leave when they go
            GROUP_KIND,
            [(_PROTOCOL, metadata)],
        )

    def _longer_session_s(self) -> float:
        for session_s in _SESSIONS_S:
            if session_s > self._session_s:
                return session_s
        raise GroupRefused(
            f"group {self._group}: Kafka allows no session time-out of {self._session_s:g} s or"
            " less (its setting group.min.session.timeout.ms)"
        )

    async def sync(
        self, generation: int, member_id: str, assignments: Mapping[str, bytes] | None
    ) -> bytes:
        told_all = list((assignments or {}).items())
        request = SyncGroupRequest(self._group, generation, member_id, None, told_all)
        answer = await self._ask(request, self._join_timeout_s)
        self._check(kafka.for_code(answer.error_code))
        return bytes(answer.member_assignment or b"")

    async def heartbeat(self, generation: int, member_id: str) -> None:
        request = HeartbeatRequest(self._group, generation, member_id)
        answer = await self._ask(request, self._session_s / _UNHEARD_PART)
        self._check(kafka.for_code(answer.error_code))

    async def leave(self, member_id: str) -> None:
        request = LeaveGroupRequest(self._group, member_id)
        answer = await self._ask(request, self._session_s / _UNHEARD_PART)
        try:
            self._check(kafka.for_code(answer.error_code))
        except (MemberUnknown, GenerationEnded, GroupRefused):
            pass  # gone is gone

    async def close(self) -> None:
        self._drop()
        if self._requests is not None:
            self._requests.close()
            self._requests = None
        await self._background.wait(self._settings.close_timeout_s)

    def _check(self, error: Any) -> None:
        """Raise what an answer's error means to a member."""
        if error is kafka.NoError:
            return
        if error is kafka.UnknownMemberIdError:
            raise MemberUnknown
        if error in (kafka.RebalanceInProgressError, kafka.IllegalGenerationError):
            raise GenerationEnded
        if error is kafka.InconsistentGroupProtocolError:
            raise GroupRefused(
                f"the consumer group {self._group} on Kafka at {self._settings.servers} is in use"
                " by other programs than Spawn's nodes: stop them or give them another group.id,"
                " or give this system another name"
            )
        if error is kafka.GroupAuthorizationFailedError:
            raise GroupRefused(
                f"Kafka at {self._settings.servers} does not allow the consumer group"
                f" {self._group}: allow READ on it"
            )
        if error is kafka.InvalidGroupIdError:
            raise GroupRefused(f"Kafka at {self._settings.servers} takes no group {self._group!r}")
        if error is not kafka.GroupLoadInProgressError:
            self._drop()  # not the coordinator (any more), or in trouble: look for it again
        hint = _TOO_LARGE if error is kafka.UnknownError else ""
        raise CoordinatorAway(f"group {self._group}: the broker said {reason(error())}{hint}")

    async def _ask(self, request: Any, timeout_s: float) -> Any:
        """Send a request to the coordinator. Raises: CoordinatorAway, GroupRefused."""
        try:
            connection = await self._connected()
            async with asyncio.timeout(timeout_s):
                return await connection.send(request)
        except (*FAILURES, NotImplementedError) as error:
            self._drop()
            servers = self._settings.servers
            # aiokafka's words for a broker that has no version of the request that it speaks.
            if isinstance(error, kafka.IncompatibleBrokerVersion | NotImplementedError):
                raise GroupRefused(
                    f"Kafka at {servers} has no consumer groups of a kind that we know"
                    f" ({reason(error)})"
                ) from error
            raise CoordinatorAway(
                f"group {self._group}: no answer from Kafka at {servers} ({reason(error)})"
            ) from error
        except LogUnavailable as error:
            self._drop()
            raise CoordinatorAway(str(error)) from error
        except BaseException:  # cancelled: its answer would still come, and hold up the next one
            self._drop()
            raise

    async def _connected(self) -> Connection:
        """Return a connection to the coordinator. Raises: FAILURES, LogUnavailable."""
        loop, connection = asyncio.get_running_loop(), self._connection
        if connection and connection.connected() and loop.time() < connection.session_ends:
            return connection
        self._drop()
        if self._requests is None:
            timeout_s = self._settings.connect_timeout_s
            self._requests = Requests(self._settings, self._background, timeout_s, door=self._door)
        host, port = await self._requests.until_answered(f"group {self._group}", self._find)
        self._door.enter(loop.time())
        self._connection = await self._connect(host, port)
        self._door.opened()
        return self._connection

    async def _find(self, client: AIOKafkaClient) -> tuple[str, int]:
        request = FindCoordinatorRequest(self._group, _GROUP)
        answer = await client.send(client.get_random_node(), request)
        error = kafka.for_code(answer.error_code)
        if error in (kafka.GroupAuthorizationFailedError, kafka.InvalidGroupIdError):
            self._check(error)
        if error is not kafka.NoError:
            raise error(self._group)
        return answer.host, answer.port

    async def _connect(self, host: str, port: int) -> Connection:
        connection = Connection(self._settings, host, port, self._join_timeout_s + _SLACK_S)
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s):
                await connection.connect()
        except FAILURES as error:
            self._end(connection)
            refusal = told(error, host, port, self._settings.security)
            if refusal is None:
                raise
            self._door.refused(refusal, asyncio.get_running_loop().time())
            raise refusal from error
        except BaseException:
            self._end(connection)
            raise
        return connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._end(connection)

    def _end(self, connection: Connection) -> None:
        closed = connection.end()
        if closed is not None and not closed.done():
            self._background.run(_wait(closed))


async def _wait(closed: asyncio.Future[None]) -> None:
    await asyncio.wait([closed])


def _members(answer: Any) -> Mapping[str, bytes] | None:
    """Return everybody's metadata if the answer makes us the leader."""
    if answer.leader_id != answer.member_id:
        return None
    return {member_id: bytes(metadata) for member_id, *_, metadata in answer.members}
