"""docs/reference/sdk.md, made from the docstrings of what `spawn` and `spawn.testing` export."""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

__all__ = ["sdk_page"]

_INTRODUCTION: Final = """\
# The Python SDK

Made from docstrings by `tests.docs.sdk_reference`; a test keeps it current. What is not on this
page is private. `import spawn` loads no client of a server.

Errors that callers catch are in `spawn` too; `spawn.errors` has the whole tree, and
[each code](errors.md) a page.
"""
_ERRORS: Final = "spawn.errors"
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def sdk_page() -> str:
    """Return the page."""
    parts = [_INTRODUCTION]
    for module, title in (("spawn", "`spawn`"), ("spawn.testing", "`spawn.testing`")):
        parts.append(f"## {title}\n")
        exported = importlib.import_module(module)
        names = sorted(exported.__all__, key=lambda name: (_home(exported, name), name.lower()))
        errors = [name for name in names if _home(exported, name) == _ERRORS]
        for name in names:
            if name not in errors:
                parts += _entry(exported, name)
        if errors:
            parts.append("### Errors\n\n| | |\n|---|---|")
            parts += [_error_row(getattr(exported, name)) for name in errors]
            parts.append("")
    parts.append("## Settings of an actor type\n\nArguments of `@actor(...)`.\n")
    parts += _members(*_found("spawn.core.behavior", "TypeSettings"))
    parts.append("## Fixtures\n\nOf pytest, found by the entry point `spawn`.\n")
    for name in ("spawn_kit", "spawn_node", "spawn_clock"):
        node, _ = _found("spawn.testing.plugin", name)
        parts.append(f"- `{name}`: {_words(ast.get_docstring(node))}")
    return "\n".join(parts).rstrip() + "\n"


def _home(module: object, name: str) -> str:
    value = getattr(module, name)
    home = getattr(value, "__module__", "")
    return home if inspect.isclass(value) or inspect.isfunction(value) else type(value).__module__


def _error_row(error: type) -> str:
    base = error.__mro__[1].__name__
    code = f"`{getattr(error, 'code', '')}`"
    return (
        f"| `{error.__name__}` ({base}), {code} | {_words(inspect.cleandoc(error.__doc__ or ''))} |"
    )


def _entry(module: object, name: str) -> Iterator[str]:
    value = getattr(module, name)
    yield f"### `{name}`\n"
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        # An object whose type has the documentation, as `action` is one.
        home = type(value).__module__
        yield _text_after(home, name) + "\n"
        yield from _members(*_found(home, type(value).__name__), owner=name)
        return
    node, tree = _found(value.__module__, value.__name__)
    yield f"{_text(ast.get_docstring(node))}\n"
    if isinstance(node, ast.ClassDef):
        yield from _members(node, tree, owner="")


def _found(module: str, name: str) -> tuple[ast.ClassDef | _Function, ast.Module]:
    file = importlib.import_module(module).__file__
    assert file is not None
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    nodes = [
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef | _Function) and node.name == name
    ]
    return nodes[-1], tree


def _text_after(module: str, name: str) -> str:
    """Return the string that stands below an assignment of a module."""
    file = importlib.import_module(module).__file__
    assert file is not None
    body = ast.parse(Path(file).read_text(encoding="utf-8")).body
    for node, below in itertools.pairwise(body):
        target = getattr(node, "target", None) or (getattr(node, "targets", None) or [None])[0]
        if isinstance(target, ast.Name) and target.id == name:
            return _text(_string(below))
    raise LookupError(f"{module}.{name} is not documented")


def _members(node: ast.ClassDef | _Function, _tree: ast.Module, owner: str = "") -> Iterator[str]:
    assert isinstance(node, ast.ClassDef)
    body = list(_flat(node.body))
    seen = set[str]()
    for member, below in zip(body, [*body[1:], None], strict=True):
        if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
            name, said = member.target.id, _string(below)
            words = said or ""
            if not name.startswith("_") and words:
                default = f" = {ast.unparse(member.value)}" if member.value else ""
                yield f"- `{name}: {ast.unparse(member.annotation)}{default}`: {_words(words)}"
        elif isinstance(member, _Function):
            decorators = {ast.unparse(decorator) for decorator in member.decorator_list}
            words = ast.get_docstring(member) or ""
            called = member.name == "__call__" and bool(owner)
            shown = called or not member.name.startswith("_") or member.name == "__init__"
            if not shown or not words or member.name in seen or decorators & {"overload"}:
                continue
            seen.add(member.name)
            name = {"__init__": node.name, "__call__": owner}.get(member.name, member.name)
            if owner and not called:
                name = f"{owner}.{name}"
            yield f"- `{_signature(member, name, decorators)}`: {_words(words)}"
    yield ""


def _flat(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            yield from _flat(statement.body)
        elif not isinstance(statement, ast.If):
            yield statement


def _signature(function: _Function, name: str, decorators: set[str]) -> str:
    returns = ast.unparse(function.returns) if function.returns else ""
    if "property" in decorators:
        return f"{name}: {returns}"
    arguments = ast.unparse(function.args)
    if "staticmethod" not in decorators:
        arguments = arguments.partition(", ")[2].removeprefix("/, ") if "," in arguments else ""
    arguments = arguments.removesuffix(", /")
    prefix = "async " if isinstance(function, ast.AsyncFunctionDef) else ""
    arrow = "" if function.name == "__init__" or not returns else f" -> {returns}"
    return f"{prefix}{name}({arguments}){arrow}"


def _string(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return inspect.cleandoc(str(node.value.value))
    return ""


def _text(docstring: str | None) -> str:
    return inspect.cleandoc(docstring or "")


def _words(docstring: str | None) -> str:
    return " ".join(_text(docstring).split()).replace("|", "\\|")


if __name__ == "__main__":
    print(sdk_page(), end="")
