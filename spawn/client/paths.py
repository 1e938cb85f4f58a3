"""Paths of a node, as a client asks for them (pure)."""

from __future__ import annotations

from urllib.parse import quote

__all__ = ["actor_path"]


def actor_path(actor_type: str, actor_id: str, action: str = "") -> str:
    """Return the percent-encoded path of an actor or of one of its actions; ids may hold anything.

    Bytes of a command line that are no UTF-8 go as they came: the node refuses them.
    """
    parts = [actor_type, actor_id, *([action] if action else [])]
    return "/v1/actors/" + "/".join(map(_quoted, parts))


def _quoted(part: str) -> str:
    # Dots alone are a way up or nothing to clients and proxies, so they don't stay dots.
    if part in (".", ".."):
        return part.replace(".", "%2E")
    return quote(part, safe="", errors="surrogateescape")
