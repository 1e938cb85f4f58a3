"""The commands, and the page that lists them (pure; imports nothing, so that `--help` is quick)."""

from __future__ import annotations

import textwrap
from typing import Final, NamedTuple

__all__ = ["ACTIONS", "COMMANDS", "DEBUG", "HELP_ALL", "SUMMARY", "Command", "help_page"]

DEBUG: Final = "--debug"
HELP_ALL: Final = "--help-all"
"""The help of a command with the flags of all settings, of which `--help` shows the usual ones."""
SUMMARY: Final = "Event-sourced actors on a Kafka-compatible log."


class Command(NamedTuple):
    """What the help pages say of a command."""

    help: str
    usage: str
    """The command line after `spawn`."""
    example: str
    words: str = ""
    """What its answer's words mean, where the help has to say."""


COMMANDS: Final = {
    "new": Command(
        "Make a project that runs: an actor, its test, and what they need.",
        "new NAME [OPTIONS]",
        "spawn new shop",
    ),
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
        "Show an actor's state: now, through a node, or at an earlier time, from the log.",
        "state TYPE/ID [OPTIONS]",
        "spawn state Counter/a --at 3",
    ),
    "events": Command(
        "Show an actor's history from log and database: needs no node and wakes nothing.",
        "events TYPE/ID [OPTIONS]",
        "spawn events Counter/a --state",
    ),
    "actors": Command(
        "List actors from database and log, by id: needs no node and wakes none of them.",
        "actors [TYPE] [OPTIONS]",
        "spawn actors Counter --limit 20",
    ),
    "partitions": Command(
        "Show who owns each partition, and how far the database is behind the log.",
        "partitions [TYPE] [OPTIONS]",
        "spawn partitions Counter",
        "owner: the node that may write. claim: the record by which it took the partition; epoch: "
        "how many there were. start, end: the log's first and next offset. checkpoint: all below "
        "that offset is in the database; lag: the records from there on, which a next owner reads.",
    ),
    "doctor": Command(
        "Check broker, topics, database, clock and this machine; say how to mend what is wrong.",
        "doctor [OPTIONS]",
        "spawn doctor --config production.toml",
    ),
    "repair": Command(
        "List parked actors, stopped partitions and lost history, and the ways out; or take one.",
        "repair [ACTION SUBJECT...] [OPTIONS]",
        "spawn repair skip spawn.shop.Counter/0@17",
        "ACTION: unpark TYPE/ID, skip TOPIC/PARTITION@OFFSET, accept-loss TOPIC/PARTITION, "
        "drop-type TYPE, drop-system SYSTEM. Each shows its plan first and asks; without a "
        "terminal and without --yes nothing is changed and the exit code is 6. The list's exit "
        "code is 1 if there are findings.",
    ),
    "config": Command(
        "Show every setting, its value, and where that came from.",
        "config [OPTIONS]",
        "spawn config --config production.toml",
    ),
    "explain": Command(
        "Explain an error code: what it means, how to confirm it, how to mend it.",
        "explain [CODE] [OPTIONS]",
        "spawn explain outcome-unknown",
    ),
    "completion": Command(
        "Print what makes a shell complete commands, options, actor types and actions.",
        "completion SHELL",
        "spawn completion bash >> ~/.bashrc",
    ),
}
"""Commands in the order of the help page; `spawn.cli.NAME` has the function of that name."""

ACTIONS: Final = ("unpark", "skip", "accept-loss", "drop-type", "drop-system")
"""The ways out of `spawn repair`."""

_WIDTH_MAX: Final = 100
_NAMES_WIDTH: Final = 14
_END: Final = f"""\
{DEBUG} with any command shows the traceback of an error.
Exit codes: 0 done, 1 failed, 2 usage, 3 fenced, 4 not found, 5 unreachable, 6 not confirmed.

Example: spawn dev counter.py"""


def help_page(width: int) -> str:
    """Return the page of `spawn --help`."""
    rows = [(name, command.help) for name, command in COMMANDS.items()]
    rows += [("--help, -h", "Show this page, or that of a command."), ("--version", "Show it.")]
    lines = ["Usage: spawn COMMAND [OPTIONS]", "", SUMMARY, "", "Commands:"]
    for name, text in rows:
        wrapped = textwrap.wrap(text, max(20, min(width, _WIDTH_MAX) - _NAMES_WIDTH))
        heads = [f"  {name}", *[""] * (len(wrapped) - 1)]
        lines += [f"{head:{_NAMES_WIDTH}}{part}" for head, part in zip(heads, wrapped, strict=True)]
    return "\n".join([*lines, "", _END])
