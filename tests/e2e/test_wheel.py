"""The wheel as a user gets it: built, installed into an environment of its own, and used.

No network: what it needs is linked from the environment that the tests run in, and nothing else is,
so that a dependency which pyproject.toml does not name is missed here.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import venv
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.services.keeper import KeptProcess

_ROOT = Path(__file__).parents[2]
_OURS = "spawn-actors"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it from what git would know of, with the build backend that is installed here."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(_ROOT / name, source / name)
    for name in ("spawn", "eventstore", "schemas"):
        shutil.copytree(
            _ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", ".*cache")
        )
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder],
        cwd=source,
        check=True,
        capture_output=True,
        timeout=60,
    )
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a virtual environment with the wheel, its extra `dev`, and pytest."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    site = next(folder.glob("lib/python*/site-packages"))
    for name in _closure([f"{_OURS}[dev,speed]", "pytest"]):
        _link(importlib.metadata.distribution(name), site, folder / "bin")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", folder / "bin/python", "install"),
            *("--no-index", "--no-deps", "--quiet", "--disable-pip-version-check", wheel),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return folder


def _closure(asked: Sequence[str]) -> Iterator[str]:
    """Yield the names of all distributions that some requirements need, ours not among them."""
    seen, waiting = set[str](), list(asked)
    while waiting:
        wanted = Requirement(waiting.pop())
        if str(wanted) in seen:
            continue
        seen.add(str(wanted))
        if wanted.name != _OURS:
            yield wanted.name
        for text in _requirements(wanted.name):
            marker = Requirement(text).marker
            extras = wanted.extras or {""}
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(text.partition(";")[0])


def _requirements(name: str) -> Sequence[str]:
    if name == _OURS:
        project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        extras = project["optional-dependencies"]
        return [*project["dependencies"], *extras["dev"], *extras["speed"]]
    return importlib.metadata.requires(name) or []


def _link(distribution: importlib.metadata.Distribution, site: Path, scripts: Path) -> None:
    """Make an installed distribution visible in another environment, and its programs."""
    for file in distribution.files or ():
        place = Path(str(distribution.locate_file(file))).resolve()
        if file.parts[0] == "..":
            # A script names its interpreter, so only programs go along.
            if place.parent.name == "bin" and place.read_bytes()[:4] == b"\x7fELF":
                target = scripts / place.name
                if not target.exists():
                    target.symlink_to(place)
            continue
        top = site / file.parts[0]
        if not top.exists() and file.parts[0] != "__pycache__":
            top.symlink_to(Path(str(distribution.locate_file(file.parts[0]))).resolve())


def _run(environment: Path, folder: Path, *words: str) -> str:
    """Run a command as in an activated environment; return what it prints."""
    done = subprocess.run(
        words,
        cwd=folder,
        env=_variables(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def _variables(environment: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
    path = f"{environment / 'bin'}{os.pathsep}/usr/local/bin:/usr/bin:/bin"
    return kept | {"PATH": path, "HOME": str(environment.parent), "TZ": "UTC"}


def _wait_until(holds: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_what_is_in_the_wheel(wheel: Path) -> None:
    """Types, error pages, migrations, schemas and the files of `spawn new`; no test, no bench."""
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = [
        file.relative_to(_ROOT).as_posix()
        for package in ("spawn", "eventstore", "schemas")
        for file in (_ROOT / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and file.suffix != ".pyc"
    ]
    assert set(wanted) <= names
    assert {"spawn/py.typed", "eventstore/py.typed", "schemas/py.typed"} <= names
    assert any(name.startswith("eventstore/migrations/") for name in names)
    assert "spawn/error_pages/fenced.md" in names
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        *("spawn", "eventstore", "schemas")
    }


def test_importing_it_takes_no_client_along(environment: Path, tmp_path: Path) -> None:
    """`import spawn` is the wheel's, and loads neither a client of a server nor fastavro."""
    code = (
        "import sys, spawn; print(spawn.__file__); "
        "print([n for n in ('aiokafka', 'asyncpg', 'aiohttp', 'fastavro') if n in sys.modules])"
    )
    place, loaded = _run(environment, tmp_path, "python", "-c", code).splitlines()
    assert Path(place).is_relative_to(environment)
    assert loaded == "[]"


def test_the_first_ten_minutes(environment: Path, tmp_path: Path) -> None:
    """New project, its server, a call, kill -9 and another, the history, its test."""
    assert "counter.py" in _run(environment, tmp_path, "spawn", "new", "shop")
    shop = tmp_path / "shop"
    log = tmp_path / "dev.log"
    log.touch()
    dev = KeptProcess(
        ["spawn", "dev", "counter.py", "--http-port", "0"],
        log=log,
        folder=shop,
        environment=_variables(environment),
    )

    def said() -> str:
        return log.read_text(encoding="utf-8")

    try:
        _wait_until(lambda: "Ctrl-C stops everything" in said() or dev.returncode is not None, 60)
        found = re.search(r"http://127\.0\.0\.1:(\d+) .*node pid (\d+)", said())
        assert found is not None, said()
        url = f"localhost:{found[1]}/v1/actors/Counter/a/add"
        assert _run(environment, shop, "curl", "-s", "-d", "5", url) == "5\n"
        os.kill(int(found[2]), signal.SIGKILL)
        assert _run(environment, shop, "curl", "-s", "-d", "2", url) == "7\n"
        history = _run(environment, shop, "spawn", "events", "Counter/a", "--state")
        assert re.search(r"1 .* add .* Added\(n=5\) +total=5\n", history), history
        assert re.search(r"2 .* add .* Added\(n=2\) +total=7\n", history), history
        assert "1 passed" in _run(environment, shop, "python", "-m", "pytest", "-q")
        _wait_until(lambda: "killed (SIGKILL); started again as" in said(), 20)
    finally:
        dev.send_signal(signal.SIGINT)
        try:
            dev.wait(timeout_s=20)
        except subprocess.TimeoutExpired:
            dev.kill()
