"""A broker that answers the requests of a consumer group as a test says."""

import asyncio
import struct
from collections.abc import Callable
from io import BytesIO
from typing import Any, Final

from aiokafka.protocol.admin import ApiVersionResponse_v0
from aiokafka.protocol.coordination import (
    FindCoordinatorRequest_v1,
    FindCoordinatorResponse_v1,
)
from aiokafka.protocol.group import (
    HeartbeatRequest_v1,
    HeartbeatResponse_v1,
    JoinGroupRequest_v5,
    JoinGroupResponse_v5,
    LeaveGroupRequest_v1,
    LeaveGroupResponse_v1,
    SyncGroupRequest_v3,
    SyncGroupResponse_v3,
)

from tests.contract.scripted_broker import ScriptedBroker

_API_VERSIONS: Final = 18
_REQUESTS: Final[dict[int, Any]] = {
    each.API_KEY: each
    for each in (
        FindCoordinatorRequest_v1,
        JoinGroupRequest_v5,
        SyncGroupRequest_v3,
        HeartbeatRequest_v1,
        LeaveGroupRequest_v1,
    )
}

Code = int | None
"""An error code, 0 for success; None: no answer."""


class ScriptedCoordinator(ScriptedBroker):
    """Has a group with one member, and an error code for each request that a test wants to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.elsewhere: ScriptedCoordinator | None = None
        """Who coordinates, if somebody else does."""
        self.codes: dict[str, list[Code]] = {}
        """For each kind of request: of the next ones, one after the other; then success."""
        self._answers: dict[str, Callable[[int, Any], Any]] = {
            "FindCoordinator": self._find,
            "JoinGroup": self._join,
            "SyncGroup": self._sync,
            "Heartbeat": self._heartbeat,
            "LeaveGroup": self._leave,
        }
        self.asked: list[str] = []
        """The kinds of requests in order."""
        self.connections: list[int] = []
        """For each of them, the number of its connection."""

    def count(self, kind: str) -> int:
        """Return how many requests of a kind there were."""
        return self.asked.count(kind)

    def _handle(
        self, key: int, correlation_id: int, frame: BytesIO, writer: asyncio.StreamWriter
    ) -> None:
        def send(answer: Any) -> None:
            body = struct.pack(">i", correlation_id) + answer.encode()
            writer.write(struct.pack(">i", len(body)) + body)

        if key == _API_VERSIONS:
            versions = [
                (each, kind.API_VERSION, kind.API_VERSION) for each, kind in _REQUESTS.items()
            ]
            send(ApiVersionResponse_v0(0, [*versions, (3, 0, 5)]))
        elif key in _REQUESTS:
            kind = _REQUESTS[key].__name__.partition("Request")[0]
            self.asked.append(kind)
            self.connections.append(self._writers.index(writer))
            codes = self.codes.get(kind)
            code = codes.pop(0) if codes else 0
            if code is not None:
                send(self._answers[kind](code, _REQUESTS[key].decode(frame)))
        else:
            super()._handle(key, correlation_id, frame, writer)

    def _find(self, code: int, _: Any) -> Any:
        at = (self.elsewhere or self).port
        return FindCoordinatorResponse_v1(0, code, None, at, "127.0.0.1", at)

    def _join(self, code: int, request: Any) -> Any:
        (protocol,) = request.group_protocols
        member_id = request.member_id or "member-1"
        return JoinGroupResponse_v5(
            0, code, 1, protocol[0], member_id, member_id, [(member_id, None, protocol[1])]
        )

    def _sync(self, code: int, request: Any) -> Any:
        return SyncGroupResponse_v3(0, code, request.group_assignment[0][1])

    def _heartbeat(self, code: int, _: Any) -> Any:
        return HeartbeatResponse_v1(0, code)

    def _leave(self, code: int, _: Any) -> Any:
        return LeaveGroupResponse_v1(0, code)
