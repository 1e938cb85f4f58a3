"""JSON of values whose classes are not ours and not msgspec's: pydantic models, protobuf messages.

Both have a mapping of their own, which is used: pydantic's, with aliases, and protobuf's canonical
one. Neither library is loaded before a class of the user's comes from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from spawn.sdk.messages import is_message
from spawn.sdk.models import is_model, model_error_text

__all__ = ["decode_foreign", "encode_foreign", "is_foreign", "schema_of_foreign"]


def is_foreign(cls: object) -> bool:
    """Tell whether a class has a JSON mapping of its library's."""
    return is_model(cls) or is_message(cls)


def encode_foreign(value: Any) -> Any:
    """Return what msgspec can encode in place of a value (its `enc_hook`). Raises: TypeError."""
    if isinstance(value, Mapping):
        return dict(value)
    if is_model(type(value)):
        return msgspec.Raw(value.model_dump_json(by_alias=True).encode())
    if is_message(type(value)):
        from google.protobuf import json_format

        return msgspec.Raw(json_format.MessageToJson(value, indent=None).encode())
    raise TypeError(f"{type(value).__name__} has no JSON")


def decode_foreign(cls: Any, value: Any) -> Any:
    """Return the value of a class for its decoded JSON (msgspec's `dec_hook`).

    Raises: ValueError - it does not fit; NotImplementedError - the class is none of these.
    """
    if is_model(cls):
        from pydantic import ValidationError

        try:
            return cls.model_validate_json(msgspec.json.encode(value))
        except ValidationError as error:
            raise ValueError(model_error_text(error)) from error
    if is_message(cls):
        from google.protobuf import json_format

        try:
            return json_format.Parse(msgspec.json.encode(value), cls())
        except json_format.ParseError as error:
            raise ValueError(str(error)) from error
    raise NotImplementedError(f"{cls!r} has no JSON")


def schema_of_foreign(cls: Any) -> dict[str, Any]:
    """Return the JSON Schema of such a class (msgspec's `schema_hook`)."""
    if is_model(cls):
        schema: dict[str, Any] = cls.model_json_schema(by_alias=True)
        return schema
    if is_message(cls):
        return {"type": "object", "title": cls.DESCRIPTOR.full_name}
    raise NotImplementedError(f"{cls!r} has no JSON")
