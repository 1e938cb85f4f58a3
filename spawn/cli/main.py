"""The entry point of `spawn`: finds the command, turns every error into text and exit code.

Commands are registered by import path, so that only the one that is called is imported; the page
that lists them is made without cyclopts, which takes longer to import than to read it.
"""

from __future__ import annotations

import sys

try:
    import shutil
    from collections.abc import Sequence
    from typing import TYPE_CHECKING

    from spawn.cli import exit_codes
    from spawn.cli.commands import COMMANDS, DEBUG, HELP_ALL, SUMMARY, help_page
    from spawn.errors import SpawnError
except KeyboardInterrupt:  # Ctrl-C while Python still reads files
    sys.exit(130)

if TYPE_CHECKING:
    from cyclopts import App

__all__ = ["main", "new_app", "run_command"]


def main() -> None:
    """Run the command of this process's arguments and end with its exit code."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: Sequence[str]) -> int:
    """Run one command; return its exit code. Nothing but SystemExit gets out."""
    tokens, debug = _without_debug(arguments)
    try:
        code = _run(tokens)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of a pipe has seen enough. What Python flushes at its end has nowhere to go.
        sys.stdout = None
        return exit_codes.DONE
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED
    except SpawnError as error:
        return _fail(error, debug=debug)
    except Exception as error:
        first = _first(error)
        if isinstance(first, SpawnError):
            return _fail(first, debug=debug)
        if debug:
            raise
        return _fail(
            SpawnError(
                f"this is a mistake of spawn's, please report it: {type(first).__name__}: {first}",
                hint=f"the same command with {DEBUG} shows where it happened",
            ),
            debug=False,
        )
    return code if isinstance(code, int) else exit_codes.DONE


def _run(tokens: list[str]) -> object:
    if not tokens or tokens in (["--help"], ["-h"]):
        print(help_page(shutil.get_terminal_size().columns))
        return exit_codes.DONE
    from cyclopts import CycloptsError

    from spawn.cli.usage import usage_error

    all_flags = HELP_ALL in tokens[: tokens.index("--") if "--" in tokens else None]
    tokens = ["--help" if all_flags and token == HELP_ALL else token for token in tokens]
    try:
        return new_app(all_flags=all_flags)(
            tokens, exit_on_error=False, print_error=False, result_action="return_value"
        )
    except CycloptsError as error:
        _require_subject(tokens)
        raise usage_error(error, COMMANDS) from error


def _require_subject(tokens: Sequence[str]) -> None:
    """Raise for what is mostly wrong with a command of one actor: `Counter a` for `Counter/a`."""
    from spawn.cli.subjects import parse_subject

    command, *given = tokens
    usage = COMMANDS[command].usage if command in COMMANDS else ""
    if usage.startswith(f"{command} TYPE/ID") and given and not given[0].startswith("-"):
        parse_subject(given[0], COMMANDS[command].example)


def new_app(*, all_flags: bool = False) -> App:
    """Return the commands and what they have in common; `all_flags`: help shows every setting."""
    from cyclopts import App

    from spawn.cli.help_page import HelpFormatter

    app = App(
        name="spawn",
        help=SUMMARY,
        group_parameters="Options",
        help_format="plaintext",
        help_formatter=HelpFormatter(all_flags=all_flags),
        version=_version,
        version_flags=["--version"],
        help_flags=["--help", "-h"],
    )
    for order, (name, command) in enumerate(COMMANDS.items()):
        app.command(
            f"spawn.cli.{name}:{name}",
            name=name,
            help=command.help,
            sort_key=order,
            usage=f"Usage: spawn {command.usage}",
            help_epilogue="\n\n".join(filter(None, (command.words, f"Example: {command.example}"))),
        )
    return app


def _version() -> str:
    from importlib.metadata import version

    return f"spawn {version('spawn-actors')}"


def _without_debug(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """Take out --debug, which means the same for every command; what follows `--` is data."""
    tokens = list(arguments)
    end = tokens.index("--") if "--" in tokens else len(tokens)
    if DEBUG in tokens[:end]:
        tokens.remove(DEBUG)
        return tokens, True
    return tokens, False


def _first(error: BaseException) -> BaseException:
    """Return what failed first in a group of tasks; the others mostly follow from it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _fail(error: SpawnError, *, debug: bool) -> int:
    from spawn.cli import console

    if debug:
        import traceback

        traceback.print_exception(error)
    console.error(error)
    return exit_codes.of(error)


if __name__ == "__main__":
    main()
