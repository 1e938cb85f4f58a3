"""docs/reference/cli.md, made from the commands' own help pages."""

from __future__ import annotations

import io
from typing import Final

from rich.console import Console

from spawn.cli.commands import COMMANDS
from spawn.cli.main import new_app

__all__ = ["cli_page"]

_INTRODUCTION: Final = """\
# The command `spawn`

Made from the commands' help pages by `spawn.cli.cli_reference`; a test keeps it current.

## What all commands have in common

- Data goes to stdout, words go to stderr, so that a pipe gets data alone. `--json` gives JSON, of
  lists one line for each item; its members keep their names and meaning, and others may be added.
- An actor is named `TYPE/ID`, split at the first `/`: the id may hold any characters.
- `spawn invoke`, `state`, `nodes` and `partitions --watch` go through a node: `--url`, else
  `SPAWN_URL`, else the `spawn dev` that runs in the current folder (`.spawn/dev.json`), else
  `http://127.0.0.1:9001`.
  A node that asks for a token gets the one in `SPAWN_HTTP_TOKEN`, or in the file that
  `SPAWN_HTTP_TOKEN_FILE` names; `--ca` or `SPAWN_HTTP_CA` names the authority to trust over https.
- `spawn events`, `actors`, `partitions` and `doctor` read log and database themselves: they need no
  node and wake no actor. They take the addresses from flags and environment, else from the
  `spawn dev` that runs in the current folder, else from `spawn.toml`. Without a database the log is
  read from its start.
- `spawn events --state` shows states that records hold by itself. Those that `evolve` makes of
  events need the type's code: `--target counter.py`, else what the running `spawn dev` serves.
- `spawn partitions` shows as owner the URL of the node with the claim, where the roll in the log
  has it (also for a node that left, as far back as that reaches), else its endpoint for other
  nodes. `--watch` of it and of `spawn nodes` redraws on a terminal, and else prints what there is
  and then a line for each change. If the node asked ends, another one is asked.
- `spawn actors` lists by id. `--after` goes on where a list ended, at the same cost at any place.
- Durations are written `250ms`, `5s`, `2m`, `1h` or in plain seconds.
- Colour is only used on a terminal, not with `NO_COLOR` set, and says nothing that the words don't.
  Characters in ids, replies and texts that would move a terminal's cursor are shown as escapes.
- `--debug` with any command shows the traceback of an error. Without it there is none.

An error is told as what happened with its code, where, and how to mend it:

```text
error: Counter has no action `ad` [unknown-action]
  at:   POST /v1/actors/Counter/a/ad
  hint: did you mean `add`? Actions: add(n: int) -> int, total() -> int
```

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | failed: refused by node or actor, outcome unknown, or a check of `spawn doctor` failed |
| 2 | usage: the command line, a setting or the given JSON is wrong; nothing was tried |
| 3 | fenced: processes outside of the system's group claim its partitions |
| 4 | not found: no such actor type or action |
| 5 | unreachable: the node, the log or the database does not answer |
| 70 | the node ended itself: code blocked its event loop for longer than `node.stuck` |
| 130 | ended by Ctrl-C (with `--follow` and `--watch` that is the way to end it: 0) |

[Each code](errors.md) has a page, which `spawn explain CODE` shows offline.

`spawn run`, `dev`, `init`, `config` and `doctor` have a flag for each [setting](settings.md).

A call whose answer did not come may have been executed (`outcome-unknown`): with `--key` it is safe
to send it again.
"""
_WIDTH: Final = 100


def cli_page() -> str:
    """Return the page."""
    parts = [_INTRODUCTION]
    for name in COMMANDS:
        page = io.StringIO()
        console = Console(file=page, width=_WIDTH, no_color=True, force_terminal=False)
        new_app().help_print([name], console=console)
        lines = [line.rstrip() for line in page.getvalue().strip().splitlines()]
        # cyclopts parts the example from the rest by two lines.
        text = "\n".join(lines).replace("\n\n\n", "\n\n")
        parts.append(f"## `spawn {name}`\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(cli_page(), end="")
