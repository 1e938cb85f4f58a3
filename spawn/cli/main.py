"""The entry point of `spawn`: finds the command, turns every error into text and exit code.

Commands are registered by import path, so that only the one that is called is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

from cyclopts import App, CycloptsError

from spawn.cli import exit_codes
from spawn.cli.help_page import HelpFormatter
from spawn.cli.usage import usage_error
from spawn.errors import SpawnError

__all__ = ["COMMANDS", "Command", "main", "new_app", "run_command"]


class Command(NamedTuple):
    """What the help pages say of a command."""

    help: str
    usage: str
    """The command line after `spawn`."""
    example: str


COMMANDS: Final = {
    "dev": Command(
        "Run TARGET's actors with everything they need, for development, until Ctrl-C.",
        "dev TARGET [OPTIONS]",
        "spawn dev counter.py",
    ),
    "run": Command(
        "Run TARGET's actors on given servers, until SIGINT or SIGTERM.",
        "run TARGET [OPTIONS]",
        "spawn run counter.py --config production.toml",
    ),
    "init": Command(
        "Create the topics and tables that TARGET's actors need; what is there stays as it is.",
        "init TARGET [OPTIONS]",
        "spawn init counter.py --config production.toml",
    ),
    "invoke": Command(
        "Call an action of an actor, through a node, and print its reply.",
        "invoke TYPE/ID ACTION [JSON] [OPTIONS]",
        "spawn invoke Counter/a add 5",
    ),
    "state": Command(
        "Show an actor's state, through a node.",
        "state TYPE/ID [OPTIONS]",
        "spawn state Counter/a",
    ),
    "events": Command(
        "Show an actor's history from log and database: needs no node and wakes nothing.",
        "events TYPE/ID [OPTIONS]",
        "spawn events Counter/a --state",
    ),
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
        usage="Usage: spawn COMMAND [OPTIONS]",
        help_epilogue=(
            f"{_DEBUG} with any command shows the traceback of an error.\n"
            "Exit codes: 0 done, 1 failed, 2 usage, 3 fenced, 4 not found, 5 unreachable.\n\n"
            "Example: spawn dev counter.py"
        ),
        group_parameters="Options",
        help_format="plaintext",
        help_formatter=HelpFormatter(),
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
            help_epilogue=f"Example: {command.example}",
        )
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
    from spawn.cli import console

    if debug:
        import traceback

        traceback.print_exception(error)
    console.error(error)
    return exit_codes.of(error)


if __name__ == "__main__":
    main()
