"""The platform's own Avro schemas, loaded by name from the package (pure but for that).

`schemas/avro/NAME.avsc` is what this release writes; `NAME.1.avsc`, `NAME.2.avsc` and so on are
what earlier ones wrote, the oldest first, and never change. They are parsed and fingerprinted once
per process.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType
from typing import Any, NamedTuple

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

__all__ = [
    "PlatformSchema",
    "parse_platform_schema",
    "platform_schema",
    "platform_schemas",
    "schema_fingerprint",
]


class PlatformSchema(NamedTuple):
    """A parsed schema and its 8-byte CRC-64-AVRO fingerprint."""

    name: str
    """Without the number of an earlier one: all of a name are of one kind of record."""
    parsed: Any
    """As fastavro parsed it; opaque."""
    fingerprint: bytes
    text: str
    """JSON, complete."""


@functools.cache
def platform_schema(name: str) -> PlatformSchema:
    """Return what this release writes by a name. Raises: FileNotFoundError - there is none."""
    text = resources.files("schemas").joinpath("avro", f"{name}.avsc").read_text("utf-8")
    return parse_platform_schema(name, text)


@functools.cache
def platform_schemas() -> Mapping[bytes, PlatformSchema]:
    """Return all schemas of the package, of this release and of earlier ones, by fingerprint."""
    found: dict[bytes, PlatformSchema] = {}
    for file in sorted(resources.files("schemas").joinpath("avro").iterdir(), key=lambda f: f.name):
        name, _, rest = file.name.partition(".")
        if rest.endswith("avsc"):
            schema = parse_platform_schema(name, file.read_text("utf-8"))
            found[schema.fingerprint] = schema
    return MappingProxyType(found)


def parse_platform_schema(name: str, text: str) -> PlatformSchema:
    """Return a schema from its JSON. Raises: ValueError - it is none."""
    schema = json.loads(text)
    try:
        parsed = fastavro.parse_schema(schema)
    except Exception as error:  # fastavro raises whatever wrong parts lead to
        raise ValueError(f"{name} is no Avro schema: {error!r}") from error
    return PlatformSchema(name, parsed, schema_fingerprint(schema), text)


def schema_fingerprint(schema: Any) -> bytes:
    """Return the CRC-64-AVRO fingerprint of a schema's parsing canonical form, as 8 bytes."""
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))
