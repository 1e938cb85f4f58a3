"""Whatever goes wrong is told as a problem body, with the right status."""

from __future__ import annotations

import pytest

from spawn.api import HttpLimits
from spawn.errors import (
    ActionFailed,
    ActorParked,
    BodyMismatch,
    BodyTooLarge,
    Draining,
    Fenced,
    InvalidJson,
    KeyReused,
    LogUnreachable,
    MailboxFull,
    NotStarted,
    OutcomeUnknown,
    Rejected,
    ReplyGone,
    SpawnError,
    StoreUnreachable,
    TooManyWaiting,
)
from tests.integration.api.wire import Reply, Served, serving

ADD = "/v1/actors/Counter/a/add"
FIELDS = {"type", "title", "status", "detail", "code", "retryable", "at", "hint"}


def check_problem(reply: Reply, status: int, code: str) -> None:
    """Check what every problem has in common."""
    assert reply.headers["content-type"] == "application/problem+json"
    problem = reply.json()
    assert (reply.status, problem["status"], problem["code"]) == (status, status, code)
    assert set(problem) >= FIELDS
    assert problem["title"]
    assert problem["detail"]
    assert ("retry-after" in reply.headers) == (status in (429, 503))


@pytest.mark.parametrize(
    ("error", "status", "retryable"),
    [
        (InvalidJson("the body is not JSON"), 400, False),
        (KeyReused("used"), 422, False),
        (BodyMismatch("`n` must be an integer"), 422, False),
        (BodyTooLarge("the state has over 4 MiB"), 413, False),
        (MailboxFull("full"), 429, True),
        (Draining("stopping"), 503, True),
        (NotStarted("deadline"), 503, True),
        (TooManyWaiting("10,000 wait"), 503, True),
        (Fenced("another node"), 503, True),
        (LogUnreachable("no broker"), 503, True),
        (StoreUnreachable("no database"), 503, True),
        (OutcomeUnknown("unknown"), 504, False),
        (ActionFailed("ZeroDivisionError"), 500, False),
        (ActorParked("record 88"), 500, False),
        (ReplyGone("gone"), 410, False),
    ],
)
async def test_each_error_has_its_status(
    served: Served, error: SpawnError, status: int, retryable: bool
) -> None:
    """Status, code and retryable agree with the error tree."""
    served.ingress.error = error
    reply = await served.wire.ask("POST", ADD, b"5")
    check_problem(reply, status, error.code)
    problem = reply.json()
    assert problem["retryable"] is retryable
    assert problem["type"] == f"/errors/{error.code}"
    assert problem["detail"] == error.message
    assert problem["at"].startswith(f"POST {ADD}")
    assert "rejected" not in problem


async def test_a_rejection_carries_the_users_code_and_is_marked(served: Served) -> None:
    """User codes can't clash with ours, not even when they have the same name."""
    served.ingress.error = Rejected("mailbox-full", "no more letters today")
    reply = await served.wire.ask("POST", ADD, b"5")
    check_problem(reply, 409, "mailbox-full")
    problem = reply.json()
    assert problem["rejected"] is True
    assert problem["type"] == "/errors/rejected"
    assert problem["detail"] == "no more letters today"


async def test_an_unknown_action_comes_with_the_nearest_one(served: Served) -> None:
    """The text of experience.md, word for word."""
    reply = await served.wire.ask("POST", "/v1/actors/Counter/a/ad")
    check_problem(reply, 404, "unknown-action")
    problem = reply.json()
    assert problem["detail"] == "Counter has no action `ad`"
    assert problem["at"] == "POST /v1/actors/Counter/a/ad"
    assert problem["hint"] == "did you mean `add`? Actions: add(n: int) -> int, total() -> int"


async def test_an_unknown_type_comes_with_the_nearest_one(served: Served) -> None:
    """Over both routes."""
    for method, path in (("POST", "/v1/actors/counter/a/add"), ("GET", "/v1/actors/Conter/a")):
        reply = await served.wire.ask(method, path)
        check_problem(reply, 404, "unknown-type")
        assert reply.json()["hint"] == "did you mean `Counter`? Types: Counter, Echo"


@pytest.mark.parametrize(
    "path",
    [
        "/docs/x",
        "/v1",
        "/v1/actors/",
        "/v1/actors/Counter",
        "/v1/actors/Counter/a/add/more",
        "/nothing",
    ],
)
async def test_an_unknown_path_names_the_routes(served: Served, path: str) -> None:
    """A 404 of ours, not of the library."""
    reply = await served.wire.ask("GET", path)
    check_problem(reply, 404, "unknown-path")
    assert "/v1/actors/{type}/{id}" in reply.json()["hint"] or "%2F" in reply.json()["hint"]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", ADD, "POST"),
        ("DELETE", ADD, "POST"),
        ("POST", "/v1/actors/Counter/a", "GET, HEAD, DELETE"),
        ("OPTIONS", "/v1/actors/Counter/a", "GET, HEAD, DELETE"),
        ("PUT", "/metrics", "GET, HEAD"),
        ("PATCH", "/health/live", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_names_the_right_ones(
    served: Served, method: str, path: str, allow: str
) -> None:
    """405 with Allow."""
    reply = await served.wire.ask(method, path)
    check_problem(reply, 405, "method-not-allowed")
    assert reply.headers["allow"] == allow


@pytest.mark.parametrize("part", ["%", "%2", "%zz", "%ff", "%C3", "%ED%A0%80"])
async def test_a_path_that_is_no_percent_encoded_utf_8_is_refused(
    served: Served, part: str
) -> None:
    """Nothing is guessed: the actor behind a broken id does not exist."""
    check_problem(await served.wire.ask("GET", f"/v1/actors/Counter/{part}"), 400, "invalid-id")


@pytest.mark.parametrize("raw", ["grüße".encode(), b"\xff"])
async def test_a_path_that_is_not_encoded_is_refused_and_says_how(
    served: Served, raw: bytes
) -> None:
    """curl sends what the shell gave it; the hint says what it must be."""
    served.wire.send(b"GET /v1/actors/Counter/" + raw + b" HTTP/1.1\r\nHost: h\r\n\r\n")
    reply = await served.wire.reply()
    check_problem(reply, 400, "invalid-request")
    assert "percent-encode" in reply.json()["hint"]


@pytest.mark.parametrize("actor_id", ["", "x" * 256, "%C3%BC" * 128])
async def test_what_the_node_says_of_an_id_is_told(served: Served, actor_id: str) -> None:
    """Empty, or over 255 bytes of UTF-8."""
    reply = await served.wire.ask("POST", f"/v1/actors/Counter/{actor_id}/add", b"1")
    check_problem(reply, 400, "invalid-id")


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Spawn-Timeout", "0"),
        ("Spawn-Timeout", "-5"),
        ("Spawn-Timeout", "1.5"),
        ("Spawn-Timeout", "5s"),
        ("Spawn-Timeout", "600001"),
        ("Spawn-Timeout", "9" * 5000),
        ("Spawn-Timeout", "\u0661"),
        ("Spawn-Timeout", ""),
        ("Idempotency-Key", ""),
        ("Idempotency-Key", "two words"),
        ("Idempotency-Key", "x" * 256),
        ("Idempotency-Key", "schlüssel"),
    ],
)
async def test_a_header_with_a_wrong_value_is_named(
    served: Served, header: str, value: str
) -> None:
    """400, and nothing is executed."""
    reply = await served.wire.ask("POST", ADD, b"1", {header: value})
    check_problem(reply, 400, "invalid-header")
    assert reply.json()["at"] == f"POST {ADD}, header {header}"
    assert header in reply.json()["detail"]
    assert not served.ingress.calls


async def test_a_header_given_twice_is_refused(served: Served) -> None:
    """Two keys would mean two calls."""
    served.wire.send(
        b"POST /v1/actors/Counter/a/add HTTP/1.1\r\nHost: h\r\nIdempotency-Key: a\r\n"
        b"idempotency-key: b\r\nContent-Length: 1\r\n\r\n5"
    )
    check_problem(await served.wire.reply(), 400, "invalid-header")


async def test_a_body_over_the_limit_names_it() -> None:
    """Whether its length is told, comes in chunks, or is packed; the limit itself fits."""
    async with serving(HttpLimits(body_bytes_max=1000)) as served:
        path = "/v1/actors/Echo/e/echo"
        assert (await served.wire.ask("POST", path, b"x" * 1000)).status == 200
        reply = await served.wire.ask("POST", path, b"x" * 1001)
        check_problem(reply, 413, "too-large")
        assert "1,000 bytes" in reply.json()["detail"]
        assert "SPAWN_HTTP_BODY_LIMIT" in reply.json()["hint"]
        async with served.connect() as wire:
            wire.send(
                f"POST {path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
            )
            for _ in range(3):
                wire.send(b"1f4\r\n" + b"x" * 500 + b"\r\n")
                await wire.writer.drain()
            wire.send(b"0\r\n\r\n")
            check_problem(await wire.reply(), 413, "too-large")
        assert len(served.ingress.calls) == 1


async def test_a_large_body_is_refused_without_being_read() -> None:
    """A gigabyte is answered before it is sent."""
    async with serving() as served:
        served.wire.send(
            b"POST /v1/actors/Echo/e/echo HTTP/1.1\r\nHost: h\r\n"
            b"Content-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n"
        )
        check_problem(await served.wire.reply(), 413, "too-large")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"BREW / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nBad : x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n5",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 5,
        b"POST /v1/actors/E/e/e HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_no_http_gets_a_problem_too(served: Served, request_bytes: bytes) -> None:
    """Neither the library's text nor a traceback in the log; the connection ends."""
    served.wire.send(request_bytes)
    reply = await served.wire.reply()
    check_problem(reply, 400, "invalid-request")
    assert await served.wire.closed()


async def test_an_unforeseen_error_tells_an_id_and_nothing_from_inside(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """The traceback is in the log, under the id."""
    served.ingress.error = KeyError("secret detail")
    reply = await served.wire.ask("POST", ADD, b"5")
    check_problem(reply, 500, "internal")
    assert reply.json()["error_id"] == "e77"
    assert b"secret detail" not in reply.body
    assert b"Traceback" not in reply.body
    [line] = caplog.records
    assert line.getMessage() == f"error e77 at POST {ADD}"
    assert line.exc_info is not None
    assert line.exc_info[1] is served.ingress.error
    served.ingress.error = None
    assert (await served.wire.ask("POST", ADD, b"5")).status == 200


async def test_no_answer_names_versions(served: Served) -> None:
    """The Server header says who, not which."""
    for path in ("/health/live", "/nothing", "/metrics"):
        assert (await served.wire.ask("GET", path)).headers["server"] == "spawn"
    served.wire.send(b"nonsense\r\n\r\n")
    assert (await served.wire.reply()).headers["server"] == "spawn"
