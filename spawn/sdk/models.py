"""Pydantic models as events, states, parameters and replies.

Pydantic is the user's: nothing here imports it before a class of the user's is a model. A model is
stored as a dataclass with the same fields would be, and what is read is validated by it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from spawn.sdk.shapes import MISSING

__all__ = [
    "ModelField",
    "is_complete",
    "is_model",
    "model_error_text",
    "model_fields",
    "why_not_storable",
]


class ModelField(NamedTuple):
    """A field of a model."""

    name: str
    annotation: Any
    default: Any
    """A constant, or MISSING."""
    factory: Any
    """What makes its default, without arguments; None: nothing does."""
    parameter: str
    """What the model's constructor calls it; empty: by its name."""


def is_model(cls: object) -> bool:
    """Tell whether something is a class of pydantic models, without loading pydantic."""
    pydantic = sys.modules.get("pydantic")
    # Half-way through its own import it has no BaseModel, and nobody a model.
    base = getattr(pydantic, "BaseModel", None) if pydantic is not None else None
    return base is not None and isinstance(cls, type) and issubclass(cls, base)


def is_complete(cls: Any) -> bool:
    """Tell whether all names in a model's annotations are known by now."""
    return bool(cls.__pydantic_complete__) or cls.model_rebuild(raise_errors=False) is not False


def why_not_storable(cls: Any) -> str:
    """Return what of a model would be lost or could change; empty: nothing."""
    config = cls.model_config
    if not config.get("frozen"):
        return "can be changed in place: write model_config = ConfigDict(frozen=True) in it"
    if config.get("extra") == "allow":
        return 'takes fields that are not declared, which have no schema: leave out extra="allow"'
    if config.get("use_enum_values"):
        return "keeps enums' values in place of the enums: leave out use_enum_values"
    if private := next(iter(cls.__private_attributes__), ""):
        return f"has a private attribute `{private}`, which would be lost: make it a field"
    if cls.__pydantic_generic_metadata__["parameters"]:
        return "is generic: write a class without type parameters"
    return ""


def model_fields(cls: Any) -> Iterator[ModelField]:
    """Yield a model's fields. Raises: TypeError - one has an alias that stands for several."""
    from pydantic_core import PydanticUndefined

    for name, field in cls.model_fields.items():
        alias = field.validation_alias or field.alias
        if alias is not None and not isinstance(alias, str):
            raise TypeError(f"`{cls.__name__}.{name}` has an alias that is no single name")
        if cls.model_config.get("populate_by_name") or cls.model_config.get("validate_by_name"):
            alias = None
        default, factory = field.default, field.default_factory
        if default is PydanticUndefined:
            default = MISSING
        yield ModelField(name, field.annotation, default, factory, alias or "")


def model_error_text(error: Any) -> str:
    """Return a pydantic ValidationError in one line, each field named."""
    found = []
    for each in error.errors(include_url=False, include_context=False, include_input=False):
        path = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in each["loc"])
        text = each["msg"][:1].lower() + each["msg"][1:]
        found.append(f"`{path.lstrip('.')}`: {text}" if path else text)
    return "; ".join(found)
