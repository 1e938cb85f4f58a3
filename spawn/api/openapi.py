"""The node's API as an OpenAPI 3.1 document, one path for each action (pure).

Names of schemas are `Type.Name`, since two actor types may have events of one name.

Over 400 lines: a good part of it is the document itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from spawn.api.batch import CALLS_MAX
from spawn.api.commits import LIMIT_MAX
from spawn.api.headers import KEY_CHARACTERS_MAX
from spawn.api.problems import CONTENT_TYPE
from spawn.core.behavior import ActionDescription, ActionInfo, JsonSchema
from spawn.core.ingress import TypeServed

__all__ = ["openapi_document"]

_Json = dict[str, Any]

_ERRORS: Final[_Json] = {"default": {"$ref": "#/components/responses/Problem"}}
_ANSWER_HEADERS: Final[_Json] = {
    name: {"$ref": f"#/components/headers/{name}"}
    for name in ("Spawn-Revision", "Spawn-Position", "Spawn-Time", "Spawn-Owner")
}
_COMMAND_HEADERS: Final = ("Idempotency-Key", "Spawn-Timeout", "Spawn-Request")


def openapi_document(types: Sequence[TypeServed]) -> Mapping[str, Any]:
    """Return the document of a node that serves these types."""
    paths: _Json = {}
    schemas: _Json = dict(_SCHEMAS)
    for served in types:
        paths.update(_type_paths(served))
        for name, schema in served.description.definitions.items():
            schemas[f"{served.type}.{name}"] = _renamed(schema, served.type)
    paths.update(_NODE_PATHS)
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "Spawn",
            "version": "1",
            "description": "Actors of this node. When a reply is there, its commit is in the log.",
        },
        "tags": [
            *({"name": served.type, "description": served.description.doc} for served in types),
            {"name": "node", "description": "The node itself, and those that it knows."},
        ],
        # A node without a token takes calls without one.
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": _PARAMETERS,
            "headers": _HEADERS,
            "responses": _RESPONSES,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _type_paths(served: TypeServed) -> Iterator[tuple[str, _Json]]:
    one = quote(served.named_id, safe="") if served.named_id else "{id}"
    path = f"/v1/actors/{served.type}/{one}"
    shared: list[_Json] = [] if served.named_id else [_parameter("id")]
    yield path, {"parameters": shared, "get": _read_state(served), "delete": _delete(served)}
    yield f"{path}/events", {"parameters": shared, "get": _read_events(served)}
    for action in served.actions:
        described = served.description.actions.get(action.name, ActionDescription("", {}, {}))
        call = _call(served, action, described)
        if action.name == "events":
            yield f"{path}/events", {
                "parameters": shared, "get": _read_events(served), "post": call,
            }  # fmt: skip
        else:
            yield f"{path}/{quote(action.name, safe='')}", {"parameters": shared, "post": call}


def _call(served: TypeServed, action: ActionInfo, described: ActionDescription) -> _Json:
    first, _, rest = described.doc.partition("\n")
    body = _renamed(described.input, served.type)
    may_be_empty = described.input.get("type") == "null" or "default" in described.input
    return {
        "operationId": f"{served.type}.{action.name}",
        "tags": [served.type],
        "summary": first or action.signature,
        "description": f"`{action.signature}`\n\n{rest.strip()}".strip(),
        "parameters": [
            _parameter(name)
            for name in (_COMMAND_HEADERS if not action.read_only else ("Spawn-Timeout",))
        ],
        "requestBody": {"required": not may_be_empty, "content": _json_content(body)},
        "responses": {
            "200": {
                "description": "The reply.",
                "headers": _ANSWER_HEADERS,
                "content": _json_content(_renamed(described.reply, served.type)),
            },
            **_ERRORS,
        },
    }


def _read_state(served: TypeServed) -> _Json:
    state = _renamed(served.description.state, served.type)
    members: _Json = {
        "type": {"type": "string"},
        "id": {"type": "string"},
        "revision": {"type": "integer"},
        "state": state,
    }
    return {
        "operationId": f"{served.type}-state",
        "tags": [served.type],
        "summary": f"Read the state of one {served.type}",
        "parameters": [_parameter("revision"), _parameter("Spawn-Timeout")],
        "responses": {
            "200": {
                "description": "The state; revision 0: it was never written.",
                "headers": _ANSWER_HEADERS,
                "content": _json_content(
                    {"type": "object", "properties": members, "required": list(members)}
                ),
            },
            **_ERRORS,
        },
    }


def _delete(served: TypeServed) -> _Json:
    return {
        "operationId": f"{served.type}-delete",
        "tags": [served.type],
        "summary": f"Delete one {served.type}",
        "description": "It starts again from its initial state; its revision goes on.",
        "parameters": [_parameter(name) for name in _COMMAND_HEADERS],
        "responses": {
            "200": {
                "description": "It is deleted.",
                "headers": _ANSWER_HEADERS,
                "content": _json_content({"type": "null"}),
            },
            **_ERRORS,
        },
    }


def _read_events(served: TypeServed) -> _Json:
    events = [
        {
            "type": "object",
            "properties": {
                "name": {"const": name},
                "fields": _renamed(schema, served.type),
            },
            "required": ["name", "fields"],
        }
        for name, schema in served.description.events.items()
    ]
    members: _Json = {
        **_COMMIT_MEMBERS,
        "events": {"type": "array", "items": {"anyOf": events} if events else {}},
        "state": _renamed(served.description.state, served.type),
    }
    commit = {"type": "object", "properties": members, "required": [*_COMMIT_MEMBERS, "events"]}
    return {
        "operationId": f"{served.type}-events",
        "tags": [served.type],
        "summary": f"Read what happened to one {served.type}",
        "parameters": [
            _parameter(name)
            for name in ("limit", "from_revision", "order", "follow", "Last-Event-ID")
        ],
        "responses": {
            "200": {
                "description": "Its commits; with `follow` a stream of them as they come.",
                "content": {
                    "application/json": {"schema": {"type": "array", "items": commit}},
                    "text/event-stream": {"schema": {"type": "string"}},
                },
            },
            **_ERRORS,
        },
    }


def _renamed(schema: Any, type_name: str) -> Any:
    """Return a schema of an actor type with its references as they are in this document."""
    if isinstance(schema, list):
        return [_renamed(each, type_name) for each in schema]
    if isinstance(schema, dict):
        return {key: _renamed(each, type_name) for key, each in schema.items()}
    if isinstance(schema, str) and schema.startswith("#/$defs/"):
        return f"#/components/schemas/{type_name}.{schema.removeprefix('#/$defs/')}"
    return schema


def _json_content(schema: JsonSchema) -> _Json:
    return {"application/json": {"schema": schema}}


def _parameter(name: str) -> _Json:
    return {"$ref": f"#/components/parameters/{name}"}


def _text_answer(summary: str, operation: str, content: _Json, **more: Any) -> _Json:
    answer = {"description": summary, "content": content}
    return {
        "operationId": operation,
        "tags": ["node"],
        "summary": summary,
        "responses": {"200": answer, **more, **_ERRORS},
    }


def _listed(name: str, schema: str) -> _Json:
    items = {"type": "array", "items": {"$ref": f"#/components/schemas/{schema}"}}
    members: _Json = {"system": {"type": "string"}, name: items}
    return _json_content({"type": "object", "properties": members, "required": list(members)})


_COMMIT_MEMBERS: Final[_Json] = {
    "revision": {"type": "integer"},
    "time": {"type": "string", "format": "date-time"},
    "position": {"type": "string"},
    "action": {"type": "string"},
    "caller": {"type": "string"},
}
_SCHEMAS: Final[_Json] = {
    "Problem": {
        "type": "object",
        "description": "An error (RFC 9457).",
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": {"type": "string"},
            "retryable": {"type": "boolean"},
            "at": {"type": "string"},
            "hint": {"type": "string"},
            "rejected": {"type": "boolean"},
            "error_id": {"type": "string"},
        },
        "required": ["type", "title", "status", "detail", "code", "retryable", "at", "hint"],
    },
    "BatchedCall": {
        "type": "object",
        "properties": {
            "type": {"type": "string"},
            "id": {"type": "string"},
            "action": {"type": "string"},
            "input": {},
            "key": {"type": "string", "maxLength": KEY_CHARACTERS_MAX},
            "timeout_ms": {"type": "integer", "minimum": 1},
            "request": {"type": "string"},
        },
        "required": ["type", "id", "action"],
        "additionalProperties": False,
    },
    "Node": {
        "type": "object",
        "description": "A node of the system, as this one sees it.",
        "properties": {
            "id": {"type": "string"},
            "mesh": {"type": "string"},
            "http": {"type": "string"},
            "release": {"type": "string"},
            "standing": {
                "type": "string",
                "enum": ["serving", "unfit", "leaving", "unreachable", "unmet"],
            },
            "for_s": {"type": "number"},
            "partitions": {"type": "integer"},
            "is_self": {"type": "boolean"},
        },
        "required": ["id", "mesh", "standing", "for_s", "partitions", "is_self"],
    },
    "Partition": {
        "type": "object",
        "description": "Who owns a partition; what follows `epoch` is told of the node's own.",
        "properties": {
            "topic": {"type": "string"},
            "partition": {"type": "integer"},
            "owner": {"type": ["string", "null"]},
            "http": {"type": ["string", "null"]},
            "mesh": {"type": ["string", "null"]},
            "epoch": {"type": "integer"},
            "phase": {"type": "string"},
            "position": {"type": "integer"},
            "checkpoint": {"type": "integer"},
        },
        "required": ["topic", "partition", "owner", "http", "mesh", "epoch"],
    },
    "Owners": {
        "type": "object",
        "description": "Of each topic's partitions the owner's place in `nodes`; -1: nobody known.",
        "properties": {
            "system": {"type": "string"},
            "node": {"type": "string"},
            "nodes": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "id": {"type": "string"},
                        "http": {"type": "string"},
                        "standing": {"type": "string"},
                    },
                    "required": ["id", "http", "standing"],
                },
            },
            "owners": {
                "type": "object",
                "additionalProperties": {"type": "array", "items": {"type": "integer"}},
            },
        },
        "required": ["system", "node", "nodes", "owners"],
    },
    "Outcome": {
        "type": "object",
        "properties": {
            "status": {"type": "integer"},
            "reply": {},
            "revision": {"type": "integer"},
            "position": {"type": "string"},
            "time": {"type": "integer"},
            "problem": {"$ref": "#/components/schemas/Problem"},
        },
        "required": ["status"],
    },
}
_RESPONSES: Final[_Json] = {
    "Problem": {
        "description": "An error; `code` says which, /errors/{code} has its page.",
        "headers": {
            "Spawn-Time": {"$ref": "#/components/headers/Spawn-Time"},
            "Spawn-Owner": {"$ref": "#/components/headers/Spawn-Owner"},
            "Retry-After": {"$ref": "#/components/headers/Retry-After"},
        },
        "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
}
_HEADERS: Final[_Json] = {
    "Spawn-Revision": {
        "description": "The actor's revision after the command, or the one that was read.",
        "schema": {"type": "integer"},
    },
    "Spawn-Position": {
        "description": "topic/partition@offset of the record; absent at revision 0.",
        "schema": {"type": "string"},
    },
    "Spawn-Time": {
        "description": "Time of the partition's last commit, in us since 1970.",
        "schema": {"type": "integer"},
    },
    "Spawn-Owner": {
        "description": "Where the owner of the actor's partition is reached; absent where this "
        "node is it, or does not know.",
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "With 429 and 503: seconds after which to try again.",
        "schema": {"type": "integer"},
    },
}


def _in(place: str, name: str, schema: _Json, text: str, **more: Any) -> _Json:
    return {"name": name, "in": place, "description": text, "schema": schema, **more}


_PARAMETERS: Final[_Json] = {
    "id": _in(
        "path",
        "id",
        {"type": "string", "minLength": 1, "maxLength": 255},
        "Any characters, at most 255 bytes of UTF-8; a `/` is `%2F`.",
        required=True,
    ),
    "Idempotency-Key": _in(
        "header",
        "Idempotency-Key",
        {"type": "string", "minLength": 1, "maxLength": KEY_CHARACTERS_MAX, "pattern": "^[!-~]+$"},
        "The same call with the same key takes effect once.",
    ),
    "Spawn-Timeout": _in(
        "header",
        "Spawn-Timeout",
        {"type": "integer", "minimum": 1},
        "How long to wait for the outcome, in milliseconds.",
    ),
    "Spawn-Request": _in(
        "header",
        "Spawn-Request",
        {"type": "string", "pattern": "^session=[0-9a-f]{32}, ?n=\\d+, ?low=\\d+, ?issued=\\d+$"},
        "The number of the request in a session of the caller's (`spawn.Client` sends it).",
    ),
    "If-None-Match": _in(
        "header",
        "If-None-Match",
        {"type": "string"},
        "The `ETag` of an earlier answer: 304 if nothing has changed since.",
    ),
    "Last-Event-ID": _in(
        "header",
        "Last-Event-ID",
        {"type": "integer", "minimum": 0},
        "With `follow`: the revision after which to go on.",
    ),
    "limit": _in(
        "query",
        "limit",
        {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": 100},
        "How many at most.",
    ),
    "revision": _in(
        "query",
        "revision",
        {"type": "integer", "minimum": 0},
        "The state after this one, folded from the log; without it the state now.",
    ),
    "from_revision": _in(
        "query",
        "from_revision",
        {"type": "integer", "minimum": 1, "default": 1},
        "Leave out what came before it.",
    ),
    "order": _in(
        "query",
        "order",
        {"type": "string", "enum": ["newest", "oldest"], "default": "newest"},
        "Which come first.",
    ),
    "follow": _in(
        "query",
        "follow",
        {"type": "string", "enum": ["", "1", "true"]},
        "Answer with a stream of server-sent events.",
        allowEmptyValue=True,
    ),
}
_HEALTH: Final = _json_content({"type": "object"})
_NODE_PATHS: Final[_Json] = {
    "/v1/batch": {
        "post": {
            "operationId": "batch",
            "tags": ["node"],
            "summary": "Make many calls at once, each with an outcome of its own",
            "parameters": [_parameter("Spawn-Timeout")],
            "requestBody": {
                "required": True,
                "content": _json_content({
                    "type": "array",
                    "maxItems": CALLS_MAX,
                    "items": {"$ref": "#/components/schemas/BatchedCall"},
                }),
            },
            "responses": {
                "200": {
                    "description": "The outcomes, in the order of the calls.",
                    "content": _json_content(
                        {"type": "array", "items": {"$ref": "#/components/schemas/Outcome"}}
                    ),
                },
                **_ERRORS,
            },
        }
    },
    "/v1/types": {
        "get": _text_answer(
            "The actor types here, with their schemas.",
            "types",
            _json_content({"type": "object"}),
        )
    },
    "/v1/nodes": {
        "get": _text_answer(
            "The nodes of the system, this one first.", "nodes", _listed("nodes", "Node")
        )
    },
    "/v1/partitions": {
        "get": _text_answer(
            "Who owns each partition.", "partitions", _listed("partitions", "Partition")
        )
    },
    "/v1/owners": {
        "get": {
            **_text_answer(
                "Who owns each partition, in few bytes, for programs that call owners themselves.",
                "owners",
                _json_content({"$ref": "#/components/schemas/Owners"}),
                **{"304": {"description": "Nothing has changed."}},
            ),
            "parameters": [_parameter("If-None-Match")],
        }
    },
    "/health/live": {"get": _text_answer("The process lives.", "live", _HEALTH)},
    "/health/ready": {
        "get": _text_answer(
            "Whether the node serves, and if not why.",
            "ready",
            _HEALTH,
            **{"503": {"description": "It does not serve all of its partitions.",
                       "content": _HEALTH}},
        )
    },
    "/metrics": {
        "get": _text_answer(
            "Metrics for Prometheus.", "metrics", {"text/plain": {"schema": {"type": "string"}}}
        )
    },
}  # fmt: skip
