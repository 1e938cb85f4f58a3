"""What the tests of the pages share: one `spawn dev` for all of them, and one run of their Python.

The budget for everything here is 90 s on two busy cores, so what is slow is done once.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.docs.pages import ROOT, Block, Page, all_pages
from tests.docs.terminal import Dev

__all__ = ["JOURNEYS", "python_name"]

_TUTORIAL: Final = tuple(
    f"docs/tutorial/{name}.md"
    for name in ("first-actor", "first-test", "first-crash", "first-replay")
)
_ACTOR: Final = re.compile(r"^class (\w+)\(Actor\[", re.MULTILINE)


def _journeys() -> Mapping[str, Sequence[Page]]:
    pages = {page.name: page for page in all_pages()}
    tutorial = {"docs/tutorial": [pages.pop(name) for name in _TUTORIAL if name in pages]}
    return tutorial | {name: [page] for name, page in pages.items()}


JOURNEYS: Final[Mapping[str, Sequence[Page]]] = _journeys()
"""Pages that are read one after the other in one folder, by name: the tutorial, else one each."""


def python_name(journey: str) -> str:
    """Return the name of the module that a journey's Python becomes."""
    return "page_" + re.sub(r"\W+", "_", journey.removesuffix(".md"))


@pytest.fixture(scope="session")
def shared_dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Dev]]:
    """Return the server that all pages share, started when first asked for.

    It serves the actor types of every page that says `spawn dev` and shows no output of it.
    """
    folder = tmp_path_factory.mktemp("dev")
    started: list[Dev] = []

    def start() -> Dev:
        if not started:
            target = folder / "pages.py"
            target.write_text(_shared_target(folder), encoding="utf-8")
            environment = {k: v for k, v in os.environ.items() if not k.startswith("SPAWN_")}
            started.append(Dev([str(target)], folder, environment | {"TZ": "UTC"}))
        return started[0]

    yield start
    for dev in started:
        dev.stop()


def _shared_target(folder: Path) -> str:
    files = [("examples_counter", ROOT / "examples" / "counter.py")]
    for journey, pages in JOURNEYS.items():
        blocks = [block for page in pages for block in page.blocks]
        wanted = {
            match[1]
            for block in blocks
            for match in re.finditer(r"(?m)^\$ spawn dev (\S+)[^\n]*\n(?=\$|\Z)", block.text)
        }
        for block in blocks:
            if block.file in wanted and block.language == "python":
                wanted.discard(block.file)
                name = f"{python_name(journey)}_{Path(block.file).stem}"
                (folder / f"{name}.py").write_text(block.text, encoding="utf-8")
                files.append((name, folder / f"{name}.py"))
    loads, classes, seen = [], [], dict[str, Path]()
    for name, file in files:
        loads.append(f"{name} = load({name!r}, {str(file)!r})")
        for actor in _ACTOR.findall(file.read_text(encoding="utf-8")):
            assert actor not in seen, f"two pages have an actor {actor}: {seen[actor]} and {file}"
            seen[actor] = file
            classes.append(f"{name}.{actor}")
    return (
        "import importlib.util\nimport sys\nfrom spawn import System\n\n\n"
        "def load(name, file):\n"
        "    spec = importlib.util.spec_from_file_location(name, file)\n"
        "    module = sys.modules[name] = importlib.util.module_from_spec(spec)\n"
        "    spec.loader.exec_module(module)\n"
        "    return module\n\n\n"
        + "\n".join(loads)
        + f"\nsystem = System(actors=[{', '.join(classes)}])\n"
    )


@pytest.fixture(scope="session")
def python_failures(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Run every page's Python blocks, each journey's as one module; return what failed, by journey.

    One pytest for all of them, in a process of its own as a user's would be. A line's number is the
    one that it has in its page.
    """
    folder = tmp_path_factory.mktemp("python")
    names = {}
    for journey, pages in JOURNEYS.items():
        text = python_of(pages)
        if text.strip():
            names[python_name(journey)] = journey
            (folder / f"{python_name(journey)}.py").write_text(text, encoding="utf-8")
    (folder / "pytest.ini").write_text(
        "[pytest]\npython_files = page_*.py\naddopts = --import-mode=importlib\n"
        "asyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
        "filterwarnings =\n    error\n    ignore:cannot collect test class\n",
        encoding="utf-8",
    )
    report = folder / "report.xml"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    failures: dict[str, str] = {}
    assert report.exists(), done.stdout + done.stderr
    for case in ElementTree.parse(report).iter("testcase"):
        module = (case.get("classname") or case.get("name") or "").split(".")[0]
        for problem in (*case.iter("failure"), *case.iter("error")):
            journey = names.get(module, module)
            failures[journey] = failures.get(journey, "") + f"{case.get('name')}\n{problem.text}\n"
    return failures


def python_of(pages: Sequence[Page]) -> str:
    """Return the Python blocks of some pages as one module.

    A file `test_....py` is left out: its page runs it by `pytest`. Imports from files that the
    pages show themselves go: their names are there already. The second `from __future__` of a file
    would be a mistake of its own and goes, too.
    """
    blocks = [
        block
        for page in pages
        for block in page.blocks
        if block.language == "python" and not block.file.startswith("test_")
    ]
    shown = {Path(block.file).stem for block in blocks if block.file}
    lines: list[str] = []
    for block in blocks:
        if block.not_run:
            ast.parse(block.text)
            continue
        if len(pages) == 1:
            lines += [""] * (block.line - 1 - len(lines))
        lines += _own_lines(block, shown, is_first=not any(lines))
    return "\n".join(lines) + "\n"


def _own_lines(block: Block, shown: set[str], *, is_first: bool) -> list[str]:
    lines = block.text.splitlines()
    for node in ast.parse(block.text, block.place).body:
        gone = isinstance(node, ast.ImportFrom) and (
            node.module in shown or (node.module == "__future__" and not is_first)
        )
        if gone:
            for number in range(node.lineno, (node.end_lineno or node.lineno) + 1):
                lines[number - 1] = ""
    return lines
