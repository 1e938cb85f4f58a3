"""Many calls in one request, each with an outcome of its own (docs/reference/http.md, Batches).

The calls are started in their order, so those to one actor take effect in it; those to different
actors run at once. Each is checked, refused and answered as it would be alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from spawn.api.headers import parse_key, parse_request
from spawn.api.problems import Problem
from spawn.core.commands import Answer
from spawn.core.ingress import Call, Ingress, PendingAnswer
from spawn.errors import BodyMismatch, BodyTooLarge, InvalidHeader, InvalidJson

__all__ = ["CALLS_MAX", "BatchedCall", "Outcome", "parse_batch", "run_batch"]

CALLS_MAX: Final = 1_000
"""Calls of one request: what a node starts in some 30 ms."""
_AT_ONCE: Final = 100
"""Calls started within one turn of the event loop."""

Unset = msgspec.UnsetType
_UNSET: Final = msgspec.UNSET


class BatchedCall(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One call of a batch, as it stands in the body."""

    type: str
    id: str
    action: str
    input: msgspec.Raw = msgspec.Raw(b"")
    """What would be the body of a request of its own."""
    key: str | None = None
    timeout_ms: int | None = None
    request: str | None = None
    """As in the header `Spawn-Request`."""


class Outcome(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What became of one call."""

    status: int
    reply: msgspec.Raw | Unset = _UNSET
    revision: int | Unset = _UNSET
    position: str | Unset = _UNSET
    time: int | Unset = _UNSET
    """T of the actor's partition, for a numbered call."""
    problem: Problem | Unset = _UNSET


_decode: Final = msgspec.json.Decoder(list[BatchedCall]).decode

Failure = Callable[[int, BaseException], Problem]
"""Makes the problem of a call that failed, given its place in the batch."""


def parse_batch(body: bytes) -> Sequence[BatchedCall]:
    """Return the calls of a body. Raises: InvalidJson, BodyMismatch, BodyTooLarge."""
    try:
        calls = _decode(body or b"null")
    except msgspec.ValidationError as error:
        raise BodyMismatch(
            f"a batch is a list of calls: {error}",
            hint='e.g. [{"type": "Counter", "id": "a", "action": "add", "input": 5}]',
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidJson(f"the body is not JSON: {error}") from error
    if len(calls) > CALLS_MAX:
        raise BodyTooLarge(
            f"the batch has {len(calls)} calls, the limit is {CALLS_MAX}",
            hint="send several batches",
        )
    return calls


async def run_batch(
    ingress: Ingress,
    calls: Sequence[BatchedCall],
    timeout_s: float,
    caller: str,
    failure: Failure,
) -> bytes:
    """Run the calls and return their outcomes in the order of the calls, as JSON."""
    pending: list[PendingAnswer | BaseException] = []
    for index, batched in enumerate(calls):
        if index % _AT_ONCE == 0 and index:
            await asyncio.sleep(0)
        try:
            pending.append(ingress.invoke(_call(batched, index, timeout_s, caller)))
        except Exception as error:  # noqa: BLE001 - the edge: a caller is always answered
            pending.append(error)
    outcomes: list[Outcome] = []
    for index, (batched, each) in enumerate(zip(calls, pending, strict=True)):
        time_us: int | Unset = _UNSET
        try:
            if isinstance(each, BaseException):
                raise each
            answer = await each
        except Exception as error:  # noqa: BLE001 - the edge: a caller is always answered
            problem = failure(index, error)
            if batched.request is not None:
                time_us = ingress.log_time_us(batched.type, batched.id)
            outcomes.append(Outcome(problem.status, time=time_us, problem=problem))
        else:
            if batched.request is not None:
                time_us = ingress.log_time_us(batched.type, batched.id)
            outcomes.append(_outcome(answer, time_us))
    return msgspec.json.encode(outcomes)


def _outcome(answer: Answer, time_us: int | Unset) -> Outcome:
    reply, revision, position = answer.reply, answer.revision, answer.position
    if position is None:
        return Outcome(200, msgspec.Raw(reply), revision, time=time_us)
    topic, partition, offset = position
    place = f"{topic}/{partition}@{offset}"
    return Outcome(200, msgspec.Raw(reply), revision, place, time_us)


def _call(batched: BatchedCall, index: int, timeout_s: float, caller: str) -> Call:
    """Raises: InvalidHeader."""
    request = None
    if batched.key is not None:
        parse_key((batched.key,), f"call {index}, key")
    if batched.request is not None:
        request = parse_request((batched.request,), f"call {index}, request")
    if batched.timeout_ms is not None:
        if batched.timeout_ms < 1:
            raise InvalidHeader(
                f"timeout_ms must be at least 1, got {batched.timeout_ms}",
                at=f"call {index}, timeout_ms",
            )
        timeout_s = min(timeout_s, batched.timeout_ms / 1000)
    return Call(
        batched.type,
        batched.id,
        batched.action,
        bytes(batched.input),
        timeout_s,
        batched.key,
        caller,
        None,
        request,
    )
