"""Avro schemas of every record in the log, and what schemas can read of each other.

`avro/` holds the platform's own schemas, `registry` loads them, `compat` tells field by field
what a newer schema can't read of an older one. The lowest layer: it knows nothing of Spawn.
"""

from schemas.compat import Difference, differences, event_differences
from schemas.registry import (
    PlatformSchema,
    parse_platform_schema,
    platform_schema,
    platform_schemas,
    schema_fingerprint,
)

__all__ = [
    "Difference",
    "PlatformSchema",
    "differences",
    "event_differences",
    "parse_platform_schema",
    "platform_schema",
    "platform_schemas",
    "schema_fingerprint",
]
