"""What a node tells of itself: its types, its API, the page to try it, the pages of errors."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

import msgspec

from spawn import error_pages
from spawn.api.openapi import openapi_document
from spawn.api.paths import Match
from spawn.api.responses import LINE_END, Response
from spawn.core.ingress import Ingress, TypeServed
from spawn.errors import UnknownPath

__all__ = ["Pages"]

_DOCS: Final = Path(__file__).parent / "docs.html"
_MARKDOWN: Final = "text/markdown; charset=utf-8"
_HTML: Final = "text/html; charset=utf-8"
_NO_SNIFFING: Final = ("X-Content-Type-Options", "nosniff")


class Pages:
    """Answers the routes that say the same each time, but for the types of other nodes."""

    def __init__(self, ingress: Ingress) -> None:
        self._ingress = ingress

    def answer(self, match: Match) -> Response:
        """Return a page. Raises: UnknownPath - there is no error of that code."""
        if match.route == "types":
            return Response(200, self._types() + LINE_END)
        if match.route == "openapi":
            return Response(200, self._openapi + LINE_END)
        if match.route == "docs":
            return _docs()
        if match.route == "home":
            return Response(302, b"see /docs\n", "text/plain", (("Location", "/docs"),))
        return _error_page(match.action)

    def _types(self) -> bytes:
        told: dict[str, Any] = {"system": self._system, "types": self._hosted}
        if elsewhere := self._ingress.elsewhere_types():
            told["elsewhere"] = [
                {"type": name, "topic": topic, "partitions": partitions}
                for name, (topic, partitions) in sorted(elsewhere.items())
            ]
        return msgspec.json.encode(told)

    @cached_property
    def _system(self) -> str:
        return self._ingress.statistics().system

    @cached_property
    def _hosted(self) -> msgspec.Raw:
        shown = [_shown(served) for served in self._ingress.describe()]
        return msgspec.Raw(msgspec.json.encode(shown))

    @cached_property
    def _openapi(self) -> bytes:
        return msgspec.json.encode(openapi_document(self._ingress.describe()))


def _shown(served: TypeServed) -> Mapping[str, Any]:
    description = served.description
    actions: Sequence[Mapping[str, Any]] = [
        {
            "name": action.name,
            "read_only": action.read_only,
            "signature": action.signature,
            **(
                {"doc": described.doc, "input": described.input, "reply": described.reply}
                if (described := description.actions.get(action.name)) is not None
                else {"doc": "", "input": {}, "reply": {}}
            ),
        }
        for action in served.actions
    ]
    kind = {"kind": "named", "id": served.named_id} if served.named_id else {"kind": "unnamed"}
    return {
        "type": served.type,
        **kind,
        "doc": description.doc,
        "topic": served.topic,
        "partitions": served.partitions,
        "actions": actions,
        "events": description.events,
        "state": description.state,
        "$defs": description.definitions,
    }


@cache
def _docs() -> Response:
    """Return the page; it loads nothing, and only its own script and style run in it."""
    page = _DOCS.read_bytes()
    policy = [
        "default-src 'none'",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        f"script-src {_digest(page, b'script')}",
        f"style-src {_digest(page, b'style')}",
    ]
    headers = (
        ("Content-Security-Policy", "; ".join(policy)),
        ("Referrer-Policy", "no-referrer"),
        _NO_SNIFFING,
    )
    return Response(200, page, _HTML, headers)


def _digest(page: bytes, element: bytes) -> str:
    found = re.search(b"<%b>(.*?)</%b>" % (element, element), page, re.DOTALL)
    assert found is not None, "the page has one of each"
    return f"'sha256-{base64.b64encode(hashlib.sha256(found[1]).digest()).decode()}'"


def _error_page(code: str) -> Response:
    page = error_pages.page(code)
    if page is None:
        raise UnknownPath(
            "there is no error of that code", hint="`spawn explain` lists all that there are"
        )
    return Response(200, page.encode(), _MARKDOWN, (_NO_SNIFFING,))
