"""Plain heads: what the express lane reads, and everything that it leaves to aiohttp."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawn.api.heads import HEAD_BYTES_MAX, are_requests, is_begun_call, parse_head

CALL = b"POST /v1/actors/Counter/a%2Fb/add HTTP/1.1\r\nHost: h:9001\r\nContent-Length: 2\r\n\r\n"


def with_field(field: bytes) -> bytes:
    """Return a call with one more field."""
    return CALL[:-2] + field + b"\r\n\r\n"


def test_a_plain_head_is_read() -> None:
    """Method, target, fields by any spelling of their names, and where the body is."""
    head = parse_head(CALL + b"12")
    assert head is not None
    assert (head.method, head.target) == ("POST", "/v1/actors/Counter/a%2Fb/add")
    assert head.headers["host"] == "h:9001"
    assert (head.end, head.body_bytes) == (len(CALL), 2)


@pytest.mark.parametrize(
    "field",
    [
        b"Connection: keep-alive",
        b"connection: Keep-Alive",
        b"Accept:*/*",
        b"Idempotency-Key: order 7, again",
        b"User-Agent: Mozilla/5.0 (X11; Linux)",
    ],
)
def test_usual_fields_are_plain(field: bytes) -> None:
    """Values hold what is visible, and spaces within."""
    head = parse_head(with_field(field))
    assert head is not None
    name, _, value = field.decode().partition(":")
    assert head.headers[name] == value.strip()


@pytest.mark.parametrize(
    "field",
    [
        b"Connection: close",
        b"Connection: keep-alive, upgrade",
        b"Proxy-Connection: close",
        b"Upgrade: websocket",
        b"Expect: 100-continue",
        b"Transfer-Encoding: chunked",
        b"transfer-encoding: identity",
        b"Content-Encoding: gzip",
        b"Sec-WebSocket-Key1: x",
        b"Content-Length: 2",
        b"content-length: 3",
        b"Host: other",
        b"X-Any: a\r\nx-any: b",
        b"Bad : x",
        b"X-Empty:",
        b"X-Empty: ",
        b"X-Two:  spaces",
        b"X-Trailing: space ",
        b"X-Tab:\tx",
        b"X-Tab: a\tb",
        b"X-Folded: a\r\n b",
        b" X-First: folded",
        b"no colon",
        b": no name",
        b"X-Nul: \0",
        b"X-Bell: \a",
        b"X-Del: \x7f",
        b"X-Latin: \xfc",
        b"X-Utf-8: \xc3\xbc",
        b"X-Lf: a\nb: c",
        b"X-Cr: a\rb",
        b"X-(: x",
        b"X-Long: " + b"x" * HEAD_BYTES_MAX,
        b"\r\n".join(b"X-%d: x" % number for number in range(80)),
    ],
)
def test_every_doubt_is_left_to_aiohttp(field: bytes) -> None:
    """Whether it is right, wrong, or merely rare."""
    assert parse_head(with_field(field)) is None


@pytest.mark.parametrize(
    "line",
    [
        b"POST /v1/actors/C/a/b HTTP/1.0",
        b"POST /v1/actors/C/a/b HTTP/2.0",
        b"POST /v1/actors/C/a/b  HTTP/1.1",
        b"POST  /v1/actors/C/a/b HTTP/1.1",
        b" POST /v1/actors/C/a/b HTTP/1.1",
        b"\r\nPOST /v1/actors/C/a/b HTTP/1.1",
        b"post /v1/actors/C/a/b HTTP/1.1",
        b"BREW /v1/actors/C/a/b HTTP/1.1",
        b"CONNECT /v1/actors/C/a/b HTTP/1.1",
        b"POST http://h/v1/actors/C/a/b HTTP/1.1",
        b"POST v1/actors/C/a/b HTTP/1.1",
        b"POST /v1/actors/C/\xc3\xbc/b HTTP/1.1",
        b"POST /v1/actors/C/a#x/b HTTP/1.1",
        b"POST /v1/actors/C/a\\x/b HTTP/1.1",
        b"POST /v1/actors/C/\0/b HTTP/1.1",
        b"POST /v1/actors/C/a/b HTTP/1.1 ",
        b"POST /v1/actors/C/a/b",
        b"POST /v1/actors/C/" + b"x" * HEAD_BYTES_MAX + b"/b HTTP/1.1",
    ],
)
def test_other_request_lines_are_left_to_aiohttp(line: bytes) -> None:
    """Only the usual methods and the origin form of HTTP/1.1."""
    assert parse_head(line + b"\r\nHost: h\r\n\r\n") is None


@pytest.mark.parametrize(
    "length", [b"+2", b"-2", b"2.0", b"0x2", b"2 ", b"2,2", b"2 2", b"two", b"1" * 16, b"\xb2"]
)
def test_a_length_that_is_no_plain_number_is_left_to_aiohttp(length: bytes) -> None:
    """The length decides where the next request begins."""
    assert parse_head(CALL.replace(b"Length: 2", b"Length: " + length)) is None


def test_a_request_without_host_is_left_to_aiohttp() -> None:
    """HTTP/1.1 demands it."""
    assert parse_head(CALL.replace(b"Host", b"Hist")) is None


def test_a_request_without_length_has_no_body() -> None:
    """What follows is the next one."""
    head = parse_head(b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\nX")
    assert head is not None
    assert head.body_bytes == 0


def test_a_head_known_from_before_changes_nothing() -> None:
    """It saves the reading of fields, which stay what they are."""
    known = parse_head(CALL)
    again = parse_head(b"x" + CALL, 1, known)
    assert known is not None
    assert again == msgspec.structs.replace(known, end=len(CALL) + 1)
    assert parse_head(with_field(b"A: b"), 0, known) == parse_head(with_field(b"A: b"))
    assert parse_head(CALL[:-2] + b"Bad : x\r\n\r\n", 0, known) is None


@given(st.integers(0, len(CALL)), st.binary(max_size=3), st.integers(0, 3))
def test_what_is_damaged_is_never_read_as_a_longer_head(at: int, new: bytes, gone: int) -> None:
    """A head ends at the first empty line, with its last byte."""
    data = CALL[:at] + new + CALL[at + gone :] + b"12"
    head = parse_head(data)
    if head is not None:
        assert data[: head.end].find(b"\r\n\r\n") == head.end - 4


@pytest.mark.parametrize("end", range(1, len(CALL)))
def test_every_beginning_of_a_call_is_one(end: int) -> None:
    """The rest may come with the next packet."""
    assert is_begun_call(CALL[:end])
    assert parse_head(CALL[:end]) is None


@pytest.mark.parametrize(
    "data",
    [CALL, b"GET /v1", b"POST /v2", b"\r\n", CALL[:-2] + b"\0", CALL[:17] + b"x" * HEAD_BYTES_MAX],
)
def test_other_beginnings_are_none(data: bytes) -> None:
    """They go to aiohttp at once, which may have something to say already."""
    assert not is_begun_call(data)


def test_requests_are_whole_or_not() -> None:
    """Up to the last byte."""
    get = b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n"
    assert are_requests(get + CALL + b"12" + get, None)
    assert are_requests(b"", None)
    assert not are_requests(get + CALL + b"1", None)
    assert not are_requests(get + CALL + b"123", None)
    assert not are_requests(get + b"G", None)
