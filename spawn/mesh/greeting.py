"""Whether two nodes may talk (pure): each judges the other's `Hello` by itself."""

from __future__ import annotations

from typing import NamedTuple

from spawn.mesh.wire import Hello

__all__ = ["Objection", "objection", "spoken"]


class Objection(NamedTuple):
    """Why a peer is refused."""

    reason: str
    """`version`, `system` or `itself`."""
    text: str


def objection(ours: Hello, theirs: Hello) -> Objection | None:
    """Return what stands against talking to a peer; None: nothing does.

    Of two versions that differ the lower is spoken, so it must be one that both speak; each release
    speaks its own and the one before. Both ends come to the same result.
    """
    # The system first: who reached another system by mistake shall not be told to upgrade.
    if theirs.system != ours.system:
        return Objection(
            "system",
            f"it is a node of system {theirs.system[:80]!r}, and this one of {ours.system!r}",
        )
    if theirs.node == ours.node:
        return Objection("itself", f"{ours.endpoint} is this node itself")
    if spoken(ours, theirs) < max(ours.least, theirs.least):
        return Objection(
            "version",
            f"it speaks mesh protocol {theirs.least} to {theirs.version} (release "
            f"{theirs.release[:40]}), and this node {ours.least} to {ours.version} (release "
            f"{ours.release}): upgrade one release at a time",
        )
    return None


def spoken(ours: Hello, theirs: Hello) -> int:
    """Return the version that is spoken with a peer: the newest that both know.

    What has to be understood, and came with a later one, is not sent there.
    """
    return min(ours.version, theirs.version)
