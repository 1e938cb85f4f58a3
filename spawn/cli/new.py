"""`spawn new NAME`: a project that runs."""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from spawn.cli import console, render
from spawn.cli.subjects import UsageError

__all__ = ["FILES", "new", "project_files"]

FILES: Final = {
    "counter.py": "counter.py.txt",
    "test_counter.py": "test_counter.py.txt",
    "pyproject.toml": "pyproject.toml.txt",
    "spawn.toml": "spawn.toml.txt",
    "compose.yaml": "compose.yaml.txt",
    ".vscode/launch.json": "launch.json.txt",
    ".gitignore": "gitignore.txt",
}
"""What is made, from which file of the folder `project`."""

_NAME: Final = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")
_NAME_MAX: Final = 40
_PLACE: Final = "{{name}}"
_TAKEN: Final = frozenset(("spawn", "spawn-actors", "eventstore", "schemas", "counter"))
"""Names that would hide what the project imports."""


def new(
    name: Annotated[str, Parameter(name="NAME", help="Name of the project and of its new folder.")],
    /,
    *,
    folder: Annotated[
        Path | None,
        Parameter(help="Folder to make, instead of ./NAME.", metavar="FOLDER"),
    ] = None,
    json: Annotated[bool, Parameter(help="One line of JSON for each file.", negative="")] = False,
) -> None:
    """Make a project that runs: an actor, its test, and what they need."""
    files = project_files(name)
    target = folder or Path(name)
    _require_free(target)
    for place, text in files.items():
        path = target / place
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{path} can't be written: {error.strerror or error}") from error
        if json:
            console.data(render.json_line({"created": str(path)}))
    if not json:
        console.data(f"created  {'  '.join(files)}")
    console.note(f"next: cd {render.shell_word(str(target))} && spawn dev counter.py")


def project_files(name: str) -> Mapping[str, str]:
    """Return the text of each file by its place in the project. Raises: UsageError."""
    _require_name(name)
    source = Path(__file__).parent / "project"
    return {
        place: (source / file).read_text(encoding="utf-8").replace(_PLACE, name)
        for place, file in FILES.items()
    }


def _require_name(name: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > _NAME_MAX:
        near = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-0123456789")[:_NAME_MAX]
        raise UsageError(
            f"a project's name has at most {_NAME_MAX} small letters, digits, `-` and `_`, and "
            f"begins with a letter; got `{name}`",
            hint=f"e.g. spawn new {near or 'shop'}",
        )
    module = name.replace("-", "_")
    if name in _TAKEN or keyword.iskeyword(name) or module in sys.stdlib_module_names:
        raise UsageError(
            f"`{name}` would hide a module of that name", hint=f"e.g. spawn new my-{name}"
        )


def _require_free(target: Path) -> None:
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists() or target.is_symlink():
        kind = "is a folder that is not empty" if target.is_dir() else "exists and is no folder"
        raise UsageError(f"{target} {kind}", hint="choose another name; nothing was written")
