"""What an actor class takes, gives and stores, as JSON Schema (2020-12).

msgspec makes the schemas, pydantic those of its models. What neither can say is described as `{}`:
anything may be valid.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from spawn.core.behavior import ActionDescription, JsonSchema, TypeDescription
from spawn.sdk.carrying import StateCarrier
from spawn.sdk.definition import ActionPlan, ActorDefinition
from spawn.sdk.foreign import schema_of_foreign
from spawn.sdk.parameters import Parameters

__all__ = ["describe"]

_DEFS: Final = "$defs"
_REF: Final = "#/$defs/"


def describe(cls: type, definition: ActorDefinition) -> TypeDescription:
    """Return the description of an actor class."""
    schemas = _Schemas()
    actions = {
        name: ActionDescription(
            inspect.cleandoc(getattr(cls, name).__doc__ or ""),
            _input(schemas, plan.parameters),
            _reply(schemas, plan),
        )
        for name, plan in definition.actions.items()
    }
    events = {name: schemas.of(shape.type) for name, shape in definition.event_shapes.items()}
    state = schemas.any_of(definition.state_types)
    return TypeDescription(_own_doc(cls), actions, events, state, schemas.definitions)


def _own_doc(cls: type) -> str:
    """Return the docstring that the class itself has; a base's says nothing of it."""
    return inspect.cleandoc(cls.__doc__) if cls.__doc__ else ""


def _reply(schemas: _Schemas, plan: ActionPlan) -> JsonSchema:
    if isinstance(plan.reply, StateCarrier):
        return schemas.any_of(plan.reply.passed)
    return schemas.of(plan.reply.annotation)


def _input(schemas: _Schemas, parameters: Parameters) -> JsonSchema:
    described = parameters.described
    if not described:
        return {"type": "null"}
    members: dict[str, JsonSchema] = {}
    for name, annotation, default in described:
        schema = schemas.of(annotation)
        if default is not None:
            schema = {**schema, "default": json.loads(default)}
        members[name] = schema
    if len(described) == 1:
        [schema] = members.values()
        return schema
    return {
        "type": "object",
        "properties": members,
        "required": [name for name, _, default in described if default is None],
        "additionalProperties": False,
    }


class _Schemas:
    """Makes schemas and gathers the definitions that they refer to."""

    def __init__(self) -> None:
        self.definitions: dict[str, JsonSchema] = {}
        self._raw: dict[str, JsonSchema] = {}
        """The same as they came, to tell one from another of the same name."""

    def any_of(self, types: Iterable[type]) -> JsonSchema:
        schemas = [self.of(each) for each in sorted(types, key=lambda each: each.__name__)]
        return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}

    def of(self, annotation: Any) -> JsonSchema:
        """Return the schema of an annotation; `{}` where there is none."""
        try:
            [schema], found = msgspec.json.schema_components(
                [annotation], schema_hook=schema_of_foreign, ref_template=_REF + "{name}"
            )
        except Exception:  # noqa: BLE001 - a type that msgspec or a library of the user's can't say
            return {}
        names = {name: self._free_name(name, each) for name, each in found.items()}
        for name, each in found.items():
            self.definitions[names[name]] = self._settled(each, names)
        settled: JsonSchema = self._settled(schema, names)
        return settled

    def _settled(self, value: Any, names: Mapping[str, str]) -> Any:
        """Return a schema with its references as they are named here.

        A library's own schema brings its definitions along, which move up here.
        """
        if isinstance(value, list):
            return [self._settled(each, names) for each in value]
        if not isinstance(value, dict):
            return value
        inner = value.get(_DEFS)
        if isinstance(inner, dict):
            names = {name: self._free_name(name, each) for name, each in inner.items()}
            for name, each in inner.items():
                self.definitions[names[name]] = self._settled(each, names)
        settled = {}
        for key, each in value.items():
            if isinstance(each, str) and each.startswith(_REF):
                # `$ref`, or an entry of a discriminator's mapping.
                name = each.removeprefix(_REF)
                settled[key] = _REF + names.get(name, name)
            elif key != _DEFS:
                settled[key] = self._settled(each, names)
        return settled

    def _free_name(self, name: str, schema: JsonSchema) -> str:
        """Return a name for a definition that no other one has."""
        free, number = name, 2
        while free in self._raw and self._raw[free] != schema:
            free, number = f"{name}_{number}", number + 1
        self._raw[free] = schema
        return free
