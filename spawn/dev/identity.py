"""As whom PostgreSQL runs where it refuses our own user: root, or a number without a name.

First choice is a user namespace, in which our own user bears the number of `nobody`: the files stay
ours, and no other process gains access to them. Where the kernel or a container forbids that, root
can still hand the files over to the system's `nobody`. No user is ever added to the system.
"""

from __future__ import annotations

import os
import pwd
import stat
import sys
from pathlib import Path

from spawn.dev.errors import StackError
from spawn.dev.parts import Identity
from spawn.dev.supervisor_link import SupervisorLink

__all__ = ["choose_identity", "require_reachable"]


async def choose_identity(link: SupervisorLink) -> Identity | None:
    """Return the identity under which PostgreSQL can run here; None: our own will do.

    Raises: StackError - there is none. SupervisorLost.
    """
    if os.geteuid() != 0 and _has_name(os.geteuid()):
        return None
    nobody = _nobody()
    in_namespace = Identity(mode="userns", uid=nobody.pw_uid, gid=nobody.pw_gid)
    if sys.platform == "linux" and await link.can_take(in_namespace):
        return in_namespace
    if os.geteuid() == 0:
        return Identity(mode="setuid", uid=nobody.pw_uid, gid=nobody.pw_gid)
    raise StackError(
        f"PostgreSQL can't be set up by user number {os.geteuid()}, which has no name here",
        at="/etc/passwd",
        hint="add a line for this user, or allow user namespaces",
    )


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _nobody() -> pwd.struct_passwd:
    """Return the user `nobody`, or any other but root: initdb wants a name for its number."""
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        pass
    for user in pwd.getpwall():
        if user.pw_uid != 0:
            return user
    raise StackError(
        "PostgreSQL refuses to run as root, and no other user is there",
        at="/etc/passwd",
        hint="add a line for the user nobody",
    )


def require_reachable(identity: Identity | None, *paths: Path) -> None:
    """Refuse to run as another user of the system where that user can't reach a path.

    Raises: StackError - it names the folder in the way.
    """
    if identity is None or identity.mode != "setuid":
        return
    for path in paths:
        for folder in reversed(path.parents):
            if not _can_enter(folder.stat(), identity):
                raise StackError(
                    "PostgreSQL refuses to run as root, and as user"
                    f" {pwd.getpwuid(identity.uid).pw_name} it can't enter {folder}",
                    at=str(path),
                    hint="put it elsewhere, allow others to enter that folder (chmod o+x),"
                    " run as a normal user, or allow user namespaces",
                )


def _can_enter(folder: os.stat_result, identity: Identity) -> bool:
    if folder.st_uid == identity.uid:
        return bool(folder.st_mode & stat.S_IXUSR)
    if folder.st_gid == identity.gid:
        return bool(folder.st_mode & stat.S_IXGRP)
    return bool(folder.st_mode & stat.S_IXOTH)
