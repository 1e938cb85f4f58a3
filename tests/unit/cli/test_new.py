"""`spawn new`: a project that runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from spawn.cli.new import FILES, project_files
from spawn.config import load_settings
from tests.unit.cli.running import spawn

pytestmark = pytest.mark.timeout(10)

ROOT = Path(__file__).parents[3]


def test_it_makes_every_file_and_says_what_is_next(capsys: pytest.CaptureFixture[str]) -> None:
    """Files on stdout, the next step on stderr."""
    code, out, err = spawn(capsys, "new", "shop")
    assert code == 0
    assert out == f"created  {'  '.join(FILES)}\n"
    assert err == "next: cd shop && spawn dev counter.py\n"
    assert all((Path("shop") / file).is_file() for file in FILES)
    assert "{{" not in "".join(project_files("shop").values())


def test_its_files_are_sound() -> None:
    """As TOML and JSON; the compose file is the repository's without the node that it builds."""
    files = project_files("my-shop")
    project = tomllib.loads(files["pyproject.toml"])
    assert project["project"]["name"] == "my-shop"
    # Else setuptools finds two modules, and `pip install -e .` fails.
    assert project["tool"]["setuptools"]["py-modules"] == ["counter"]
    assert tomllib.loads(files["spawn.toml"]) == {"system": "my-shop"}
    assert json.loads(files[".vscode/launch.json"])["version"] == "0.2.0"
    ours = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    ours = re.sub(r"\n  # A node with .*?(?=\nvolumes:)", "", ours, flags=re.DOTALL)
    ours = ours.replace("spawn run examples/counter.py", "spawn run counter.py")
    assert files["compose.yaml"] == ours.replace("\nname: spawn\n", "\nname: my-shop\n")


def test_its_settings_name_its_system(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever name it may have: topics are named after it."""
    for name in ("shop", "my-shop", "my_shop", "x" * 40):
        spawn(capsys, "new", name)
        settings = load_settings(environ={}, config=Path(name) / "spawn.toml")
        assert settings.system == name


@pytest.mark.timeout(60)
def test_its_test_passes(capsys: pytest.CaptureFixture[str]) -> None:
    """As a person runs it."""
    spawn(capsys, "new", "shop")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd="shop",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


@pytest.mark.timeout(120)
def test_its_code_passes_mypy(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """In strict mode, which its own pyproject.toml asks for."""
    spawn(capsys, "new", "shop")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path), "."],
        cwd="shop",
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Shop", "e.g. spawn new shop"),
        ("2shop", "e.g. spawn new shop"),
        ("../shop", "e.g. spawn new shop"),
        ("my shop", "e.g. spawn new my-shop"),
        ("", "e.g. spawn new shop"),
        ("x" * 41, "e.g. spawn new x"),
        ("shop-", "e.g. spawn new shop"),
        ("json", "e.g. spawn new my-json"),
        ("spawn", "e.g. spawn new my-spawn"),
        ("class", "e.g. spawn new my-class"),
    ],
)
def test_a_name_that_would_not_do_is_refused(
    capsys: pytest.CaptureFixture[str], name: str, hint: str
) -> None:
    """With one that would; nothing is written."""
    code, out, err = spawn(capsys, "new", name)
    assert (code, out) == (2, "")
    assert hint in err
    assert list(Path().iterdir()) == []


def test_a_folder_that_holds_something_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """A file of that name too; an empty folder is used."""
    Path("shop").mkdir()
    Path("shop/mine.txt").write_text("mine")
    code, _, err = spawn(capsys, "new", "shop")
    assert code == 2
    assert "shop is a folder that is not empty" in err
    assert [file.name for file in Path("shop").iterdir()] == ["mine.txt"]
    Path("file").write_text("")
    code, _, err = spawn(capsys, "new", "shop", "--folder", "file")
    assert code == 2
    assert "file exists and is no folder" in err
    Path("empty").mkdir()
    code, out, _ = spawn(capsys, "new", "shop", "--folder", "empty", "--json")
    assert code == 0
    assert [json.loads(line) for line in out.splitlines()] == [
        {"created": f"empty/{file}"} for file in FILES
    ]
