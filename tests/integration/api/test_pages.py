"""What a node tells of itself: types, OpenAPI, the page to try it, the pages of errors."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Any

import msgspec
import pydantic
import pytest
from openapi_spec_validator import validate

from spawn import Actor, action, actor
from spawn.api.openapi import openapi_document
from spawn.api.problems import STATUSES
from spawn.core.ingress import TypeServed
from spawn.sdk.behavior import ClassBehavior
from tests.integration.api.fake_ingress import TOPIC
from tests.integration.api.wire import Served


async def test_types_are_told_with_their_schemas(served: Served) -> None:
    """And with their partitions, by which a client numbers its requests."""
    told = (await served.wire.ask("GET", "/v1/types")).json()
    assert told["system"] == "shop"
    [counter] = told["types"]
    assert {name: counter[name] for name in ("type", "kind", "topic", "partitions")} == {
        "type": "Counter", "kind": "unnamed", "topic": TOPIC, "partitions": 4,
    }  # fmt: skip
    assert counter["actions"][0] == {
        "name": "add", "read_only": False, "signature": "add(n: int) -> int",
        "doc": "Add a number.", "input": {"type": "integer"}, "reply": {"type": "integer"},
    }  # fmt: skip
    assert counter["events"] == {"Added": {"$ref": "#/$defs/Added"}}
    assert counter["$defs"]["Added"]["required"] == ["n"]


async def test_the_openapi_document_is_valid(served: Served) -> None:
    """By the specification's own schema."""
    document = (await served.wire.ask("GET", "/openapi.json")).json()
    validate(document)
    assert document["openapi"].startswith("3.1")
    assert "/v1/actors/Counter/{id}/add" in document["paths"]


async def test_the_page_to_try_it_runs_nothing_but_its_own(served: Served) -> None:
    """Its policy names the script and the style by their digests; nothing is loaded."""
    reply = await served.wire.ask("GET", "/docs")
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    for element in ("script", "style"):
        [text] = re.findall(rb"<%b>(.*?)</%b>" % ((element.encode(),) * 2), reply.body, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in policy
    assert not re.search(rb'(?:src|href)="(?!/|data:)|innerHTML|\son\w+=|\bstyle=', reply.body)


async def test_every_error_has_its_page(served: Served) -> None:
    """At the `type` of its problem."""
    for code in STATUSES:
        page = await served.wire.ask("GET", f"/errors/{code}")
        assert (page.status, page.headers["content-type"]) == (200, "text/markdown; charset=utf-8")
        assert page.body.startswith(f"# {code}\n".encode())
    for path in ("/errors/nope", "/errors/", "/errors/../internal", "/errors/__init__"):
        reply = await served.wire.ask("GET", path)
        assert (reply.status, reply.json()["code"]) == (404, "unknown-path")


class Size(Enum):
    S = "s"
    L = "l"


class Part(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True)
    name: str
    size: Size = Size.S
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Added:
    part: Part


@dataclass(frozen=True)
class Cart:
    parts: tuple[Part, ...] = ()
    notes: Mapping[str, str] | None = None


class Basket(Actor[Cart, Added]):
    """A basket of things."""

    @action
    def put(self, part: Part, at: datetime, count: int = 1, *, size: Size = Size.S) -> int:
        """Put a part in.

        As often as count says.
        """
        self.emit(Added(part))
        return count

    @staticmethod
    def evolve(state: Cart, event: Added) -> Cart:
        return replace(state, parts=(*state.parts, event.part))


@actor(named="main")
class Config(Actor[Part]):
    """The one configuration."""

    @action
    def events(self, value: dict[str, list[Part]]) -> Part | None:
        """Named as the path of the events."""

    @classmethod
    def initial(cls, actor_id: str) -> Part:
        return Part(name=actor_id)


@pytest.fixture
def served_types() -> list[TypeServed]:
    """Real types as a node tells them."""
    behaviors = [ClassBehavior(Basket), ClassBehavior(Config)]
    return [
        TypeServed(
            behavior.type, "t", 3, behavior.settings.named_id,
            list(behavior.actions.values()), behavior.describe(),
        )
        for behavior in behaviors
    ]  # fmt: skip


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, each in value.items():
            if name == "$ref":
                yield each
            else:
                yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def test_descriptions_say_what_an_action_takes(served_types: list[TypeServed]) -> None:
    """One parameter is the body, several are an object; a model has its own schema."""
    basket, config = (served.description for served in served_types)
    put = basket.actions["put"]
    assert put.doc.startswith("Put a part in.\n")
    assert put.input["required"] == ["part", "at"]
    assert put.input["properties"]["count"] == {"type": "integer", "default": 1}
    assert put.input["properties"]["part"] == {"$ref": "#/$defs/Part"}
    assert put.reply == {"type": "integer"}
    assert basket.actions["get_state"].reply == basket.state == {"$ref": "#/$defs/Cart"}
    assert basket.definitions["Part"]["properties"]["parts"]["items"] == {"$ref": "#/$defs/Part"}
    assert config.actions["events"].input["type"] == "object"
    for description in (basket, config):
        defined = {f"#/$defs/{name}" for name in description.definitions}
        assert set(references([*description, *description.actions.values()])) <= defined
        assert set(references(list(description.definitions.values()))) <= defined


def test_real_types_make_a_valid_document(served_types: list[TypeServed]) -> None:
    """Also an action that is named as a path of ours, and a named type."""
    document: Any = json.loads(msgspec.json.encode(openapi_document(served_types)))
    validate(document)
    assert set(document["paths"]["/v1/actors/Config/main/events"]) == {"parameters", "get", "post"}
    operations = [
        each["operationId"]
        for path in document["paths"].values()
        for each in path.values()
        if isinstance(each, dict)
    ]
    assert len(operations) == len(set(operations))
    for reference in references(document):
        found = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]


async def test_the_root_leads_to_the_page(served: Served) -> None:
    """Also with a slash behind it."""
    for path in ("/", "/docs/"):
        reply = await served.wire.ask("GET", path)
        assert (reply.status, reply.headers["location"]) == (302, "/docs")
