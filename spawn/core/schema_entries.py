"""An actor type's part of the schema topic: what it reads there, and what it writes (pure)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence

from eventstore.codec import SchemaEntry
from spawn.core.behavior import Behavior, SchemaUse

__all__ = ["own_entries", "schema_uses", "teach"]


def schema_uses(entries: Iterable[SchemaEntry], actor_type: str) -> list[SchemaUse]:
    """Return the schemas of a type's events and states among entries of the schema topic."""
    return [
        SchemaUse(entry.type, entry.role, entry.name, entry.fingerprint, entry.schema)
        for entry in entries
        if entry.type == actor_type and (entry.role == "event" or entry.role == "state")
    ]


def own_entries(behavior: Behavior) -> Sequence[SchemaEntry]:
    """Return the entries of all that a type's code writes; the last one names all of them.

    They are written in one batch, in this order: where the last one stands, this code has run.
    """
    entries = [
        SchemaEntry(use.type, use.role, use.name, use.fingerprint, use.schema)
        for use in behavior.schemas
    ]
    names = sorted([each.role, each.name, each.fingerprint.hex()] for each in entries)
    text = json.dumps(names, separators=(",", ":"))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return [*entries, SchemaEntry(behavior.type, "code", "", digest, text)]


def teach(behavior: Behavior, known: Sequence[SchemaEntry]) -> Sequence[str]:
    """Tell a type's code what its topic was written with, oldest first.

    New code has to read all of it. Code that ran before need not read what newer code added since:
    it is a node that starts again in the midst of a rolling upgrade, or after a roll-back. Of that
    it reads what it can; returns what it can't, as texts for people.

    Raises: SchemaIncompatible.
    """
    own = own_entries(behavior)[-1]
    at = known.index(own) if own in known else len(known)
    behavior.learn(schema_uses(known[:at], behavior.type))
    return behavior.meet(schema_uses(known[at:], behavior.type))
