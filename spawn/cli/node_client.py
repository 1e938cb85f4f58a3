"""Calls to a node over HTTP, for the commands that go through one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from spawn import config
from spawn.cli.subjects import UsageError
from spawn.client.problems import error_of_problem, reason_of
from spawn.client.trust import trust, untrusted
from spawn.errors import NodeUnreachable, OutcomeUnknown, SpawnError

__all__ = [
    "NodeAddress",
    "NodeAnswer",
    "ask_node",
    "authorization",
    "find_node",
    "is_node",
    "parse_timeout_s",
    "read_node",
]

DEFAULT_URL: Final = "http://127.0.0.1:9001"
DEV_FOLDER: Final = Path(".spawn")

_MARGIN_S: Final = 5.0
"""A node answers at the deadline; a little later it counts as gone."""
_TRUST: Final = "name the authority that signed it: --ca FILE, SPAWN_HTTP_CA or SSL_CERT_FILE"
_PROBLEM: Final = "application/problem+json"


class NodeAddress(NamedTuple):
    """Where a node is looked for, and who said so."""

    url: str
    source: str
    ca: str = ""
    """File with the authorities to trust; empty: the system's."""


class NodeAnswer(NamedTuple):
    """What a node answered to a call that it served."""

    body: bytes
    revision: int
    position: str
    """Empty: the actor was never written."""


def find_node(flag: str | None, ca: str | None = None) -> NodeAddress:
    """Return the node's address: the flag, SPAWN_URL, a running `spawn dev` here, the default.

    `ca` is the flag --ca, else SPAWN_HTTP_CA. Raises: UsageError.
    """
    return _find(flag)._replace(ca=ca or config.node_ca())


def _find(flag: str | None) -> NodeAddress:
    if flag:
        return _checked(NodeAddress(flag, "--url (flag)"))
    if variable := config.node_url():
        return _checked(NodeAddress(variable, "SPAWN_URL (environment)"))
    from spawn.dev import dev_file

    running = dev_file.read(DEV_FOLDER)
    if running is not None:
        return NodeAddress(running.http_url.rstrip("/"), str(dev_file.dev_file_path(DEV_FOLDER)))
    return NodeAddress(DEFAULT_URL, f"{DEFAULT_URL} (default)")


def authorization() -> Mapping[str, str]:
    """Return the header for a node that asks for a token; nothing where none is set.

    Raises: UsageError. There is no flag for it: every user of a machine sees command lines.
    """
    try:
        token = config.node_token()
    except (OSError, ValueError) as error:
        raise UsageError(
            f"the node's token can't be used: {error}",
            at="SPAWN_HTTP_TOKEN, SPAWN_HTTP_TOKEN_FILE (environment)",
        ) from error
    return {"Authorization": f"Bearer {token.reveal()}"} if token else {}


def parse_timeout_s(text: str) -> float:
    """Return the seconds of `--timeout`. Raises: UsageError."""
    try:
        seconds = config.parse_duration_s(text)
    except ValueError as error:
        raise UsageError(f"--timeout {error}", hint="e.g. --timeout 5s") from None
    if seconds < 0.001:
        raise UsageError(f"--timeout must be at least 1ms, got {text}")
    return seconds


async def ask_node(
    node: NodeAddress,
    method: str,
    path: str,
    timeout_s: float,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> NodeAnswer:
    """Send one request and return what the node answers.

    Raises: the error that the node tells, NodeUnreachable, NodeUntrusted, OutcomeUnknown (it may
    have executed the call).
    """
    sent = {"Spawn-Timeout": str(max(1, round(timeout_s * 1000))), **authorization()}
    sent.update(headers or {})
    status, kind, told, content = await _exchange(node, method, path, timeout_s, body, sent)
    if status != 200 or "Spawn-Revision" not in told:
        raise _no_node(node, f"status {status}, {kind}")
    return NodeAnswer(content.strip(), int(told["Spawn-Revision"]), told.get("Spawn-Position", ""))


async def read_node(node: NodeAddress, path: str, timeout_s: float) -> Any:
    """Return the JSON that a node tells of itself at a path. Raises: as `ask_node`."""
    status, kind, _, content = await _exchange(node, "GET", path, timeout_s, b"", authorization())
    try:
        if status == 200:
            return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    raise _no_node(node, f"status {status}, {kind}")


async def is_node(node: NodeAddress, node_id: str, timeout_s: float) -> bool:
    """Tell whether a node answers at an address that another one told; no token is sent."""
    try:
        _, _, told, _ = await _exchange(node, "GET", "/health/live", timeout_s, b"", {})
    except SpawnError:
        return False
    return told.get("Spawn-Node") == node_id


async def _exchange(
    node: NodeAddress,
    method: str,
    path: str,
    timeout_s: float,
    body: bytes,
    headers: Mapping[str, str],
) -> tuple[int, str, Mapping[str, str], bytes]:
    """Send one request; return status, kind, headers and body. Raises: as `ask_node`."""
    import aiohttp
    from yarl import URL

    timeout = aiohttp.ClientTimeout(total=timeout_s + _MARGIN_S, sock_connect=_MARGIN_S)
    try:
        async with (
            aiohttp.ClientSession(
                timeout=timeout, connector=aiohttp.TCPConnector(ssl=_trust(node))
            ) as session,
            # Encoded already; yarl would take `%2E%2E` for a way up.
            session.request(
                method,
                URL(node.url + path, encoded=True),
                data=body or None,
                headers=headers,
                allow_redirects=False,
            ) as response,
        ):
            content = await response.read()
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        if distrust := untrusted(error, node.url, node.source, _TRUST):
            raise distrust from error
        raise NodeUnreachable(
            f"no node answers at {node.url} ({reason_of(error)})",
            at=node.source,
            hint=_elsewhere(node),
        ) from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise _lost(node, method, path, error) from error
    if response.content_type == _PROBLEM:
        raise _told(response.status, content, node)
    return response.status, response.content_type, response.headers, content


def _trust(node: NodeAddress) -> Any:
    try:
        return trust(node.ca or None)
    except OSError as error:
        raise UsageError(
            f"{node.ca} can't be used as the authorities to trust: {error}",
            at="--ca (flag), SPAWN_HTTP_CA (environment)",
        ) from error


def _checked(node: NodeAddress) -> NodeAddress:
    try:
        parts = urlsplit(node.url)
        port_is_sound = parts.port is None or parts.port > 0
    except ValueError:
        parts, port_is_sound = urlsplit(""), False
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_sound:
        raise UsageError(f"a node's address is http://host:port, got `{node.url}`", at=node.source)
    return NodeAddress(node.url.rstrip("/"), node.source)


def _told(status: int, content: bytes, node: NodeAddress) -> SpawnError:
    """Return the error that a problem body stands for."""
    error = error_of_problem(status, content)
    if isinstance(error, NodeUnreachable):  # no node says so of itself: it is no problem of one
        return _no_node(node, "a problem without code and detail")
    return error


def _elsewhere(node: NodeAddress) -> str:
    if node.source.endswith("(default)"):
        return (
            f"no `spawn dev` runs in this folder ({DEV_FOLDER}/dev.json): go where one runs, start "
            "one with `spawn dev TARGET`, or name a node with --url or SPAWN_URL"
        )
    return "`spawn dev TARGET` starts one here; --url or SPAWN_URL names another"


def _no_node(node: NodeAddress, answer: str) -> NodeUnreachable:
    return NodeUnreachable(
        f"what answers at {node.url} is no node of Spawn ({answer})",
        at=node.source,
        hint="--url or SPAWN_URL names the node",
    )


def _lost(node: NodeAddress, method: str, path: str, error: Exception) -> SpawnError:
    """Return what it means that the answer did not come."""
    message = f"the answer of {node.url} did not come ({reason_of(error)})"
    at = f"{method} {path}"
    if method == "GET":
        return NodeUnreachable(message, at=at)
    return OutcomeUnknown(
        f"{message}; the call may have been executed",
        at=at,
        hint="`spawn events` shows whether it was; with --key it is safe to repeat",
    )
