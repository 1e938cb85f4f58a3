"""Wrong command lines in our own form, with the nearest right name."""

from __future__ import annotations

from collections.abc import Iterable

from cyclopts import CycloptsError
from cyclopts.exceptions import (
    CoercionError,
    MissingArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from spawn.cli.subjects import UsageError, nearest

__all__ = ["usage_error"]


def usage_error(error: CycloptsError, commands: Iterable[str]) -> UsageError:
    """Return what is wrong with a command line as one of our errors."""
    command = " ".join(["spawn", *(error.command_chain or ())])
    hint = f"`{command} --help` shows how it goes"
    if isinstance(error, UnknownCommandError):
        wrong = (error.unused_tokens or ["?"])[0]
        close = nearest(wrong, commands)
        return UsageError(f"there is no command `{wrong}`", hint=close or hint)
    if isinstance(error, UnknownOptionError):
        wrong = (error.token.keyword or error.token.value).partition("=")[0]
        if not wrong.startswith("-"):
            return UsageError(f"`{wrong}` is one argument too many", at=command, hint=hint)
        options = [name for argument in error.argument_collection for name in argument.names]
        close = nearest(wrong, [name for name in options if name.startswith("--")])
        return UsageError(f"there is no option {wrong}", at=command, hint=close or hint)
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        name = error.keyword or error.argument.name
        what = f"{name} needs a value" if name.startswith("-") else f"{name} is missing"
        return UsageError(what, at=command, hint=hint)
    if isinstance(error, UnusedCliTokensError):
        extra = (error.unused_tokens or ["?"])[0]
        return UsageError(f"`{extra}` is one argument too many", at=command, hint=hint)
    if isinstance(error, CoercionError) and error.token is not None:
        kind = "a whole number" if error.target_type is int else ""
        if kind:
            name = error.token.keyword or "the argument"
            text = f"{name} must be {kind}, got `{error.token.value}`"
            return UsageError(text, at=command, hint=hint)
    error.verbose = False
    return UsageError(str(error).strip().rstrip("."), at=command, hint=hint)
