"""Loading what `spawn run TARGET` names: a file or a module, and the actors in it.

Whatever is wrong with the target is said with file and line; a traceback of our own insides says
nothing to its author.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import NoReturn

from spawn.core.behavior import Behavior
from spawn.errors import InvalidTarget, SpawnError
from spawn.sdk.actor import is_actor_type
from spawn.sdk.system import System

__all__ = ["Target", "load_target", "require_file"]

_EXAMPLE = "a class like `class Counter(Actor[Total, Added])`, see examples/counter.py"


@dataclass(frozen=True, slots=True)
class Target:
    """What was found there."""

    name: str | None
    """Of the system, where a `System` names one."""
    behaviors: Sequence[Behavior]
    system: System | None
    """Bind it to the node: its references then reach the actors."""
    origin: str
    """File or module, for people."""


def load_target(target: str, folder: Path | None = None) -> Target:
    """Load `counter.py`, `package.module` or either with `:name` of a System or actor class.

    Without a name: the module's only `System`, else all actor classes that it defines. Its folder
    (of a module: `folder`, by default the current one) stands first on `sys.path` while loading
    and last afterwards, so that later imports find it too and it hides nothing.
    Raises: InvalidTarget.
    """
    place, _, name = target.partition(":")
    base = folder or Path.cwd()
    if place.endswith(".py") or "/" in place:
        path = (base / place).resolve()
        module = _load_file(path, place)
    else:
        module = _load_module(place, base)
    found = getattr(module, name, None) if name else None
    if name and found is None:
        near = difflib.get_close_matches(name, vars(module), 1)
        raise InvalidTarget(
            f"{place} has no `{name}`",
            at=place,
            hint=f"did you mean `{near[0]}`?" if near else "name a System or an actor class",
        )
    return _target_of(module, place, found)


def _target_of(module: ModuleType, place: str, found: object) -> Target:
    if is_actor_type(found):
        system = System(actors=[found])
        return Target(None, system.behaviors, system, place)
    if found is None:
        found = _only_system(module, place)
    if found is None:
        system = System()
    elif isinstance(found, System):
        system = found
    else:
        raise InvalidTarget(f"{place}: {found!r} is neither a System nor an actor class", at=place)
    if system.is_open:
        with _told_with(place):
            for value in list(vars(module).values()):
                if is_actor_type(value) and value.__module__ == module.__name__:
                    system.add(value)
    if not system.behaviors:
        raise InvalidTarget(f"{place} declares no actors", at=place, hint=f"write {_EXAMPLE}")
    return Target(system.name, system.behaviors, system, place)


def _only_system(module: ModuleType, place: str) -> System | None:
    systems = {name: value for name, value in vars(module).items() if isinstance(value, System)}
    if len({id(system) for system in systems.values()}) > 1:
        raise InvalidTarget(
            f"{place} has several systems: {', '.join(systems)}",
            at=place,
            hint=f"name one: {place}:{next(iter(systems))}",
        )
    return next(iter(systems.values()), None)


def require_file(target: str, folder: Path | None = None) -> None:
    """Raise InvalidTarget if a target names a file that is not there; nothing is loaded."""
    place = target.partition(":")[0]
    if place.endswith(".py") or "/" in place:
        _require_file(((folder or Path.cwd()) / place).resolve(), place)


def _load_file(path: Path, place: str) -> ModuleType:
    _require_file(path, place)
    return _loaded(path, place)


def _require_file(path: Path, place: str) -> None:
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in _python_files(path)], 1)
        raise InvalidTarget(
            f"{place} is not a file",
            at=str(path),
            hint=f"did you mean {near[0]}?" if near else "name a Python file or a module",
        )


def _loaded(path: Path, place: str) -> ModuleType:
    name = _free_name(path)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InvalidTarget(f"{place} is no Python file", at=str(path), hint="name a .py file")
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        with _first_on_path(path.parent), _told_with(place):
            spec.loader.exec_module(module)
    except InvalidTarget:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
        raise
    return module


def _load_module(name: str, base: Path) -> ModuleType:
    try:
        with _first_on_path(base), _told_with(name):
            return importlib.import_module(name)
    except InvalidTarget as error:
        missing = error.__cause__
        # Its own name or a parent's: the target itself is missing, not something that it imports.
        if isinstance(missing, ModuleNotFoundError) and f"{name}.".startswith(f"{missing.name}."):
            files = [file.name for file in _python_files(base / "_")]
            near = difflib.get_close_matches(f"{name}.py", files, 1)
            raise InvalidTarget(
                f"there is no module {name}",
                at=str(base),
                hint=f"did you mean {near[0]}?" if near else "name a Python file or a module",
            ) from missing
        raise


def _free_name(path: Path) -> str:
    """Return the module's name: the file's, unless another module goes by it (json.py, ...)."""
    name = path.stem
    there = sys.modules.get(name)
    same = getattr(there, "__file__", None) == str(path)
    if (there is None and name not in sys.stdlib_module_names) or same:
        return name
    return f"spawn_target_{name}"


def _python_files(path: Path) -> list[Path]:
    return sorted(path.parent.glob("*.py")) if path.parent.is_dir() else []


@contextlib.contextmanager
def _first_on_path(folder: Path) -> Iterator[None]:
    entry = str(folder)
    was_there = entry in sys.path
    sys.path.insert(0, entry)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(entry)
        if not was_there:
            sys.path.append(entry)


@contextlib.contextmanager
def _told_with(place: str) -> Iterator[None]:
    """Turn whatever the target's code raises into an InvalidTarget with its file and line."""
    try:
        yield
    except SpawnError as error:
        error.at = error.at or _line_of(error.__traceback__) or place
        if isinstance(error, InvalidTarget):
            raise
        raise InvalidTarget(f"{place} can't be loaded: {error}", at=error.at) from error
    except SyntaxError as error:
        text = (error.text or "").strip()
        where = f"{Path(error.filename or place).name}:{error.lineno}"
        raise InvalidTarget(
            f"{place} can't be loaded: {error.msg}" + (f": {text}" if text else ""), at=where
        ) from error
    except SystemExit as error:
        _refuse(place, error, f"it ended the process (exit code {error.code})")
    except Exception as error:  # noqa: BLE001 - whatever the target's code raises
        _refuse(place, error, f"{type(error).__name__}: {error}")


def _refuse(place: str, error: BaseException, reason: str) -> NoReturn:
    at = _line_of(error.__traceback__) or place
    raise InvalidTarget(f"{place} can't be loaded: {reason}", at=at) from error


def _line_of(trace: TracebackType | None) -> str:
    """Return `file.py:12` of the innermost line that is neither ours nor the import system's."""
    own = str(Path(__file__).parent.parent)
    for frame in reversed(traceback.extract_tb(trace)):
        outside = not frame.filename.startswith((own, "<frozen"))
        if outside and Path(frame.filename).parent != Path(contextlib.__file__).parent:
            return f"{Path(frame.filename).name}:{frame.lineno}"
    return ""
