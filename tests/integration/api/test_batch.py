"""Many calls in one request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from spawn.api import HttpLimits
from spawn.api.batch import CALLS_MAX
from spawn.errors import MailboxFull
from tests.integration.api.fake_ingress import TIME_US
from tests.integration.api.wire import Served, serving

NUMBER = f"session={'0f' * 16}, n=1, low=1, issued={TIME_US}"


def call(actor_id: str = "a", action: str = "add", **more: Any) -> dict[str, Any]:
    return {"type": "Counter", "id": actor_id, "action": action, **more}


async def outcomes(served: Served, *calls: Any, **headers: str) -> Any:
    reply = await served.wire.ask("POST", "/v1/batch", json.dumps(calls).encode(), headers)
    assert reply.status == 200, reply.body
    return reply.json()


async def test_each_call_has_its_own_outcome_in_its_place(served: Served) -> None:
    """What one does is no other's matter."""
    first, wrong, second, unknown, total = await outcomes(
        served, call(input=5), call(action="ad", input=1), call(input=2),
        {"type": "Conter", "id": "a", "action": "add"}, call(action="total"),
    )  # fmt: skip
    assert first == {
        "status": 200, "reply": 5, "revision": 1, "position": "spawn.shop.Counter/3@101",
    }  # fmt: skip
    assert (second["reply"], total["reply"]) == (7, 7)
    assert wrong["status"] == 404
    assert wrong["problem"]["code"] == "unknown-action"
    assert wrong["problem"]["at"] == "call 1 of POST /v1/batch"
    assert wrong["problem"]["hint"].startswith("did you mean `add`?")
    assert unknown["problem"]["code"] == "unknown-type"


async def test_a_call_has_what_one_alone_may_have(served: Served) -> None:
    """Key, timeout and number; the batch's timeout is the longest."""
    found = await outcomes(
        served, call(input=1, key="k", timeout_ms=300, request=NUMBER), call(timeout_ms=90_000),
        call(input={"x": [1, None]}), **{"Spawn-Timeout": "2000"},
    )  # fmt: skip
    assert found[0]["time"] == TIME_US
    one, two, three = served.ingress.calls
    assert (one.key, one.timeout_s, one.caller) == ("k", 0.3, "http 127.0.0.1")
    assert one.request is not None
    assert (one.request.n, one.request.issued_us) == (1, TIME_US)
    assert (two.timeout_s, two.payload, two.key) == (2.0, b"", None)
    assert json.loads(three.payload) == {"x": [1, None]}


async def test_wrong_parts_are_their_calls_matter(served: Served) -> None:
    """Named by the call's place."""
    found = await outcomes(
        served, call(key="two words"), call(timeout_ms=0), call(request="n=1"), call(input=3),
        call(actor_id=""),
    )  # fmt: skip
    assert [each["status"] for each in found] == [400, 400, 400, 200, 400]
    assert found[0]["problem"]["at"] == "call 0, key"
    assert found[2]["problem"]["at"] == "call 2, request"


async def test_a_refusal_and_a_failure_are_told_like_alone(served: Served) -> None:
    """Also what nobody foresaw, under an id."""
    served.ingress.error = MailboxFull("it is full")
    [full] = await outcomes(served, call())
    assert (full["status"], full["problem"]["retryable"]) == (429, True)
    served.ingress.error = ZeroDivisionError()
    [failed] = await outcomes(served, call())
    assert (failed["status"], failed["problem"]["error_id"]) == (500, "e77")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 422, "body-mismatch"),
        (b"{}", 422, "body-mismatch"),
        (b'[{"type":"Counter","id":"a"}]', 422, "body-mismatch"),
        (b'[{"type":"Counter","id":"a","action":"add","inptu":1}]', 422, "body-mismatch"),
        (b"[", 400, "invalid-json"),
        (b'[{"type":"Counter","id":"a","action":"add","input":nope}]', 400, "invalid-json"),
        (b'[{"type":"C","id":"a","action":"add","input":' + b"[" * 9_999, 400, "invalid-json"),
        (b"\xff", 400, "invalid-json"),
    ],
)
async def test_what_is_no_batch_does_nothing(
    served: Served, body: bytes, status: int, code: str
) -> None:
    """The whole request is refused."""
    reply = await served.wire.ask("POST", "/v1/batch", body)
    assert (reply.status, reply.json()["code"]) == (status, code)
    assert served.ingress.calls == []


async def test_a_batch_has_bounds() -> None:
    """Of calls and of bytes."""
    async with serving(HttpLimits(body_bytes_max=100_000)) as served:
        many = json.dumps([call(input=1)] * CALLS_MAX).encode()
        assert len((await served.wire.ask("POST", "/v1/batch", many)).json()) == CALLS_MAX
        more = json.dumps([call(input=1)] * (CALLS_MAX + 1)).encode()
        assert (await served.wire.ask("POST", "/v1/batch", more)).status == 413
        large = json.dumps([call(input="x" * 100_000)]).encode()
        assert (await served.wire.ask("POST", "/v1/batch", large)).status == 413
        assert (await served.wire.ask("POST", "/v1/batch", b"[]")).json() == []
