"""The entry point of `spawn`: finds the command, turns every error into text and exit code.

Commands are registered by import path, so that only the one that is called is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from cyclopts import App, CycloptsError

from spawn.cli import console, exit_codes
from spawn.cli.usage import usage_error
from spawn.errors import SpawnError

__all__ = ["COMMANDS", "main", "new_app", "run_command"]

COMMANDS: Final = {
    "dev": "Run TARGET's actors with everything they need, for development.",
    "run": "Run TARGET's actors on given servers.",
    "init": "Create topics and tables for TARGET's actors.",
    "invoke": "Call an action of an actor.",
    "state": "Show an actor's state.",
    "events": "Show an actor's history.",
}
"""Commands in the order of the help page; `spawn.cli.NAME` has the function of that name."""

_DEBUG: Final = "--debug"


def main() -> None:
    """Run the command of this process's arguments and end with its exit code."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: Sequence[str]) -> int:
    """Run one command; return its exit code. Nothing but SystemExit gets out."""
    tokens, debug = _without_debug(arguments)
    try:
        code = new_app()(
            tokens, exit_on_error=False, print_error=False, result_action="return_value"
        )
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of a pipe has seen enough. What Python flushes at its end has nowhere to go.
        sys.stdout = None
        return exit_codes.DONE
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED
    except CycloptsError as error:
        return _fail(usage_error(error, COMMANDS), debug=debug)
    except SpawnError as error:
        return _fail(error, debug=debug)
    except Exception as error:
        if debug:
            raise
        return _fail(
            SpawnError(
                f"this is a mistake of spawn's, please report it: {type(error).__name__}: {error}",
                hint=f"the same command with {_DEBUG} shows where it happened",
            ),
            debug=False,
        )
    return code if isinstance(code, int) else exit_codes.DONE


def new_app() -> App:
    """Return the commands and what they have in common."""
    app = App(
        name="spawn",
        help="Event-sourced actors on a Kafka-compatible log.",
        help_epilogue=(
            "Exit codes: 0 done, 1 failed, 2 usage, 3 fenced, 4 not found, 5 unreachable. "
            f"{_DEBUG} after any command shows the traceback of an error. "
            "Example: spawn dev counter.py"
        ),
        help_format="plaintext",
        help_formatter="plain",
        version=_version,
        version_flags=["--version"],
        help_flags=["--help", "-h"],
    )
    for order, (name, help_text) in enumerate(COMMANDS.items()):
        app.command(f"spawn.cli.{name}:{name}", name=name, help=help_text, sort_key=order)
    return app


def _version() -> str:
    from importlib.metadata import version

    return f"spawn {version('spawn-actors')}"


def _without_debug(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """Take out --debug, which means the same for every command; what follows `--` is data."""
    tokens = list(arguments)
    end = tokens.index("--") if "--" in tokens else len(tokens)
    if _DEBUG in tokens[:end]:
        tokens.remove(_DEBUG)
        return tokens, True
    return tokens, False


def _fail(error: SpawnError, *, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
    console.error(error)
    return exit_codes.of(error)
