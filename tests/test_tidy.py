"""The style guide as far as a program can read it; ruff, mypy and import-linter do the rest."""

import ast
import itertools
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement

# The first one to look parses all modules, which takes a busy machine more than the usual 10 s.
pytestmark = pytest.mark.timeout(60)

_ROOT = Path(__file__).parent.parent
_SHIPPED = ("spawn", "eventstore", "schemas")
# Prose is wrapped by its reader, a table row and a JSON text cannot be; a tool writes the locks.
_LINE_LENGTH_MAX = 100
_LINES_OF_ANY_LENGTH = {"requirements.lock", "requirements-uv.txt", "LICENSE"}
_TEXT_SUFFIXES = {
    *("", ".avsc", ".json", ".lock", ".md", ".py", ".sh", ".sql", ".toml", ".txt", ".xml"),
    *(".yaml", ".yml", ".cfg", ".ini", ".typed"),
}
_MODULE_LINES_MAX = 400
_FILE_BYTES_MAX = 1024 * 1024
_NOT_OURS = {".venv", ".git", "__pycache__", "dist", "build"}

# What belongs to somebody's machine or to the way it reaches a package index.
_OF_A_MACHINE = re.compile(
    r"(?<![\w.~$}])/(?:work|root|home|Users|opt/wheels)/\w|\.pyenv/"
    r"|\bpypi\.org/simple|files\.pythonhosted\.org|\brepo1?\.maven(?:\.apache)?\.org"
    r"|registry\.npmjs\.org|--(?:extra-)?index-url[ =]\S*://|--find-links[ =]\S"
)


@cache
def _files() -> tuple[Path, ...]:
    """Return the files that git knows or would add, from the root; without git, all of ours."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(listing, cwd=_ROOT, capture_output=True, check=True, timeout=10)
        names = [Path(name) for name in done.stdout.decode().split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        names = [path.relative_to(_ROOT) for path in _ROOT.rglob("*")]
        names = [name for name in names if not _NOT_OURS & set(name.parts)]
        names = [name for name in names if not re.match(r"\.\w+_cache|\.hypothesis", name.parts[0])]
    return tuple(sorted(name for name in names if (_ROOT / name).is_file()))


@cache
def _text(name: Path) -> str:
    return (_ROOT / name).read_text(encoding="utf-8")


def _texts() -> Iterator[tuple[Path, str]]:
    for name in _files():
        if name.suffix in _TEXT_SUFFIXES:
            yield name, _text(name)


def _modules() -> Iterator[tuple[Path, ast.Module]]:
    for name in _files():
        if name.suffix == ".py":
            yield name, _parsed(name)


@cache
def _parsed(name: Path) -> ast.Module:
    return ast.parse(_text(name), str(name))


def _calls(module: ast.Module) -> Iterator[tuple[ast.Call, bool]]:
    """Yield each call with whether its result goes anywhere."""
    thrown_away = {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)}
    for node in ast.walk(module):
        if isinstance(node, ast.Call):
            yield node, id(node) not in thrown_away


def _packages() -> list[Path]:
    """Return the folders of the shipped packages that hold Python modules."""
    folders = {name.parent for name in _files() if name.suffix == ".py"}
    return sorted(folder for folder in folders if folder.parts and folder.parts[0] in _SHIPPED)


def test_no_line_is_longer_than_100_characters() -> None:
    """Code and settings fit a screen cut in two; prose, schemas, recorded data, locks are free."""
    long = [
        f"{name}:{number}: {len(line)} characters"
        for name, text in _texts()
        if name.suffix not in {".md", ".avsc", ".json"} and name.name not in _LINES_OF_ANY_LENGTH
        for number, line in enumerate(text.splitlines(), 1)
        if len(line) > _LINE_LENGTH_MAX
    ]
    assert not long, "\n".join(long)


def test_text_ends_with_one_newline_and_no_line_with_a_blank() -> None:
    """A diff shows what was meant and nothing else."""
    untidy = [
        f"{name}: no newline at its end"
        for name, text in _texts()
        if text and not text.endswith("\n")
    ]
    untidy += [
        f"{name}:{number}: ends with a blank"
        for name, text in _texts()
        if name.suffix != ".md"
        for number, line in enumerate(text.split("\n"), 1)
        if line != line.rstrip()
    ]
    assert not untidy, "\n".join(untidy)


def test_every_module_has_a_docstring() -> None:
    """A module says what it is for before it says how."""
    silent = [str(name) for name, module in _modules() if not ast.get_docstring(module)]
    assert not silent, "\n".join(silent)


def test_every_test_has_a_docstring() -> None:
    """A test says in one sentence which behaviour it holds."""
    silent = [
        f"{name}:{node.lineno}: {node.name}"
        for name, module in _modules()
        if name.parts[0] == "tests" and name.name.startswith("test_")
        for node in ast.walk(module)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert not silent, "\n".join(silent)


def test_a_module_over_400_lines_says_why() -> None:
    """Its docstring has a sentence that begins `Over 400 lines:`, which finds them all at once."""
    unexplained = [
        f"{name}: {len(_text(name).splitlines())} lines"
        for name, module in _modules()
        if len(_text(name).splitlines()) > _MODULE_LINES_MAX
        and "Over 400 lines:" not in (ast.get_docstring(module) or "")
    ]
    assert not unexplained, "\n".join(unexplained)


def test_architecture_has_a_line_for_every_package_and_top_level_module() -> None:
    """The codemap of ARCHITECTURE.md names every package, and every module that lies in spawn/."""
    codemap = re.search(
        r"^#+ [^\n]*codemap[^\n]*\n(.*?)(?=^## |\Z)",
        _text(Path("ARCHITECTURE.md")),
        re.MULTILINE | re.DOTALL | re.IGNORECASE,
    )
    assert codemap is not None, "ARCHITECTURE.md has no section `Codemap`"
    wanted = [folder.as_posix() for folder in _packages()]
    wanted += [name.as_posix() for name in _files() if name.parent == Path("spawn")]
    wanted = [
        name for name in wanted if not name.endswith(("__init__.py", "__main__.py", ".typed"))
    ]
    missing = [
        name
        for name in wanted
        if not re.search(rf"(?<![\w/.]){re.escape(name)}(?![\w.])", codemap[1])
        and f"`{name.removesuffix('.py').replace('/', '.')}`" not in codemap[1]
    ]
    assert not missing, f"not in the codemap: {', '.join(missing)}"


def test_packages_are_packages_and_test_folders_are_not() -> None:
    """What is shipped has `__init__.py`; tests have none; `operator/` would hide a stdlib name."""
    names = {name.as_posix() for name in _files()}
    wrong = [
        f"{folder}: no __init__.py"
        for folder in _packages()
        if folder / "__init__.py" not in _files()
    ]
    wrong += sorted(name for name in names if re.fullmatch(r"tests/(.*/)?__init__\.py", name))
    wrong += sorted(names & {"operator/__init__.py"})
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", _SHIPPED)
def test_every_shipped_package_says_that_it_is_typed(package: str) -> None:
    """Without `py.typed` a user's type checker ignores our annotations."""
    assert Path(package, "py.typed") in _files()


def test_nothing_of_a_machine_is_in_a_file() -> None:
    """No home folder, no package index: what is written here holds everywhere."""
    this_file = Path(__file__).relative_to(_ROOT)
    found = [
        f"{name}:{number}: {match[0]}"
        for name, text in _texts()
        if name != this_file
        for number, line in enumerate(text.splitlines(), 1)
        if (match := _OF_A_MACHINE.search(line))
    ]
    assert not found, "\n".join(found)


def test_the_lock_names_hashes_and_no_address() -> None:
    """requirements.lock is the lock; uv.lock names an index with every file and stays out."""
    assert Path("uv.lock") not in _files()
    for name in (Path("requirements.lock"), Path("requirements-uv.txt")):
        assert "://" not in _text(name)
        assert "--hash=sha256:" in _text(name)


def test_the_lock_holds_what_pyproject_asks_for() -> None:
    """A dependency that was added or raised is in the lock; else `make lock` was forgotten."""
    project = tomllib.loads(_text(Path("pyproject.toml")))
    asked = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *itertools.chain(*project["project"]["optional-dependencies"].values()),
        *project["dependency-groups"]["dev"],
    ]
    locked = dict(
        re.findall(r"^([\w.-]+)==([\w.]+)", _text(Path("requirements.lock")), re.MULTILINE)
    )
    missing = [
        text
        for text in asked
        if (wanted := Requirement(text)).name != project["project"]["name"]
        and (wanted.name not in locked or locked[wanted.name] not in wanted.specifier)
    ]
    assert not missing, f"not in requirements.lock (run `make lock`): {', '.join(missing)}"


def test_no_task_is_without_an_owner() -> None:
    """Tasks live in a TaskGroup; one of the loop itself is at least kept by whoever started it."""
    bare = [
        f"{name}:{node.lineno}: {ast.unparse(node.func)}"
        for name, module in _modules()
        if name.parts[0] in {*_SHIPPED, "examples"}
        for node, is_kept in _calls(module)
        if re.fullmatch(r"asyncio\.(create_task|ensure_future)", ast.unparse(node.func))
        or (not is_kept and re.search(r"loop(\(\))?\.create_task$", ast.unparse(node.func)))
    ]
    assert not bare, "\n".join(bare)


def test_no_file_is_a_blob() -> None:
    """A large file stays in every clone for ever."""
    large = [str(name) for name in _files() if (_ROOT / name).stat().st_size > _FILE_BYTES_MAX]
    assert not large, "\n".join(large)
