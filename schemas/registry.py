"""The platform's own Avro schemas, loaded by name from the package (pure but for that).

Their source is `schemas/avro/NAME.avsc`; they are parsed and fingerprinted once per process.
"""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import Any, NamedTuple

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

__all__ = ["PlatformSchema", "platform_schema", "schema_fingerprint"]


class PlatformSchema(NamedTuple):
    """A parsed schema and its 8-byte CRC-64-AVRO fingerprint."""

    name: str
    parsed: Any
    """As fastavro parsed it; opaque."""
    fingerprint: bytes


@functools.cache
def platform_schema(name: str) -> PlatformSchema:
    """Return one of the platform's schemas. Raises: FileNotFoundError - there is none so named."""
    text = resources.files("schemas").joinpath("avro", f"{name}.avsc").read_text("utf-8")
    schema = json.loads(text)
    return PlatformSchema(name, fastavro.parse_schema(schema), schema_fingerprint(schema))


def schema_fingerprint(schema: Any) -> bytes:
    """Return the CRC-64-AVRO fingerprint of a schema's parsing canonical form, as 8 bytes."""
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))
