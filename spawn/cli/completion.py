"""`spawn completion SHELL`, and the words that it completes.

The scripts ask `spawn completion --complete WORDS...` for each press of the key, so that they never
are out of date: commands and options from the commands themselves, actor types and actions from the
node of a running `spawn dev` or `SPAWN_URL`, if it answers at once.
"""

from __future__ import annotations

import contextlib
import http.client
import ssl
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

import msgspec
from cyclopts import Parameter

from spawn import error_pages
from spawn.cli import console
from spawn.cli.commands import ACTIONS, COMMANDS, DEBUG
from spawn.cli.node_client import authorization, find_node
from spawn.errors import SpawnError

__all__ = ["completion", "completions", "types_of_node"]

_NODE_S: Final = 0.3
"""A node that takes longer than a key press is not waited for."""
_SCRIPTS: Final = {
    "bash": """\
_spawn() {
  local words=("${COMP_WORDS[@]:1:COMP_CWORD}") line
  COMPREPLY=()
  while IFS= read -r line; do COMPREPLY+=("$line"); done \\
    < <(spawn completion bash --complete -- "${words[@]}" 2>/dev/null)
  if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == */ ]]; then compopt -o nospace; fi
}
complete -o default -F _spawn spawn
""",
    "zsh": """\
#compdef spawn
_spawn() {
  local -a found open
  found=("${(@f)$(spawn completion zsh --complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  found=(${found:#})
  if (( ! ${#found} )); then _files; return; fi
  open=(${(M)found:#*/}) found=(${found:#*/})
  (( ${#open} )) && compadd -S '' -- $open
  (( ${#found} )) && compadd -- $found
}
if [[ $funcstack[1] == _spawn ]]; then _spawn; else compdef _spawn spawn; fi
""",
    "fish": """\
function __spawn_complete
  set -l words (commandline -opc) (commandline -ct)
  spawn completion fish --complete -- $words[2..-1] 2>/dev/null
end
complete -c spawn -f -a '(__spawn_complete)'
complete -c spawn -n '__fish_seen_subcommand_from dev run init' -F
""",
}
_TYPED: Final = {
    "invoke": True,
    "state": True,
    "events": True,
    "actors": False,
    "partitions": False,
}
"""Commands that begin with an actor (true: TYPE/ID, false: TYPE)."""

Types = Mapping[str, Sequence[str]]
"""Actions by actor type."""


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(name="SHELL", help="The shell.")],
    /,
    *words: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    complete: Annotated[bool, Parameter(show=False, negative="")] = False,
) -> None:
    """Print what a shell's start-up file needs; fish: ~/.config/fish/completions/spawn.fish."""
    if not complete:
        console.data(_SCRIPTS[shell].rstrip("\n"))
        return
    from spawn.cli.main import new_app

    command = words[0] if len(words) > 1 else ""
    options: Sequence[str] = ()
    if command in COMMANDS:
        arguments = new_app()[command].assemble_argument_collection()
        shown = (argument for argument in arguments if argument.parameter.show is not False)
        options = [name for each in shown for name in each.names if name.startswith("--")]
    for word in completions(words, options, types_of_node):
        console.data(word)


def completions(words: Sequence[str], options: Sequence[str], types: Any) -> Sequence[str]:
    """Return what the last of `words` (those behind `spawn`) may become.

    `options` are the command's, `types` is called for the types when they matter.
    """
    *before, last = words or [""]
    if not before:
        return _matching(last, [*COMMANDS, "--help", "--version"])
    command = before[0]
    if last.startswith("-"):
        return _matching(last, [*options, "--help", DEBUG])
    given = [word for word in before[1:] if not word.startswith("-")]
    if command == "explain" and not given:
        return _matching(last, error_pages.codes())
    if command == "completion" and not given:
        return _matching(last, _SCRIPTS)
    if command == "repair" and not given:
        return _matching(last, ACTIONS)
    if command == "repair" and given[0] in ("unpark", "drop-type") and len(given) == 1:
        ending = "/" if given[0] == "unpark" else ""
        return _matching(last, [f"{name}{ending}" for name in types()])
    if command in _TYPED and not given:
        ending = "/" if _TYPED[command] else ""
        return _matching(last, [f"{name}{ending}" for name in types()])
    if command == "invoke" and len(given) == 1:
        return _matching(last, types().get(given[0].partition("/")[0], ()))
    return []


def types_of_node() -> Types:
    """Return types and actions of the node that `spawn invoke` would call; none if it is away."""
    try:
        node = find_node(None)
        parts = urlsplit(node.url)
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = ssl.create_default_context(cafile=node.ca or None)
            connection = http.client.HTTPSConnection(parts.netloc, timeout=_NODE_S, context=context)
        else:
            connection = http.client.HTTPConnection(parts.netloc, timeout=_NODE_S)
        with contextlib.closing(connection):
            connection.request("GET", "/v1/types", headers=dict(authorization()))
            answer = connection.getresponse()
            if answer.status != 200:
                return {}
            return _types(msgspec.json.decode(answer.read()))
    except (OSError, http.client.HTTPException, ValueError, SpawnError):
        return {}


def _types(answer: Any) -> Types:
    """Read the answer of /v1/types as far as it is understood."""
    with contextlib.suppress(AttributeError, KeyError, TypeError):
        types = answer["types"] if isinstance(answer, dict) else answer
        entries = types.items() if isinstance(types, dict) else ((t["type"], t) for t in types)
        return {str(name): _names(entry.get("actions", ())) for name, entry in entries}
    return {}


def _names(actions: Any) -> Sequence[str]:
    if isinstance(actions, dict):
        return list(actions)
    return [str(each["name"] if isinstance(each, dict) else each) for each in actions]


def _matching(start: str, words: Iterable[str]) -> Sequence[str]:
    return sorted({word for word in words if word.startswith(start)})
