"""The fixtures, as pytest finds them in a user's project."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[3]
_TESTS = """
import asyncio
import pytest
from examples.counter import Added, Counter, Total
from spawn import System

def test_kit(spawn_kit, spawn_clock):
    kit = spawn_kit(Counter).given(Added(2))
    assert kit.when(Counter.add, 5).now().state == Total(7)
    assert kit.clock is spawn_clock

def test_node(spawn_node, spawn_clock):
    async def use():
        system = System("shop", actors=[Counter])
        async with spawn_node(system) as node:
            assert node.clock is spawn_clock
            assert await system.actor(Counter, "a").add(5) == 5
    asyncio.run(use())

@pytest.mark.filterwarnings("ignore")
def test_forgotten(spawn_kit):
    spawn_kit(Counter).when(Counter.add, 5)

def test_never_entered(spawn_node):
    spawn_node(System("shop", actors=[Counter]))
"""


@pytest.mark.timeout(60)
def test_the_fixtures_need_no_other_plugin(tmp_path: Path) -> None:
    """They give kits and nodes on one clock, and fail a test that forgot to run one."""
    (tmp_path / "test_it.py").write_text(_TESTS, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rE", "-p", "spawn.testing.plugin", "test_it.py"],
        cwd=tmp_path,
        env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(_ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "4 passed, 2 errors" in done.stdout, done.stdout
    assert "kit.when(Counter.add, 5) was never run" in done.stdout
    assert "a node was made and never ran" in done.stdout


def test_pytest_finds_the_plugin() -> None:
    """By its entry point."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["entry-points"]["pytest11"] == {"spawn": "spawn.testing.plugin"}


def test_the_plugin_loads_nothing_before_a_test_asks() -> None:
    """A run without actors pays for no runtime, and never for a client of a server."""
    code = (
        "import sys, spawn.testing.plugin as p; heavy = [m for m in ('spawn.testing.kit', "
        "'spawn.runtime', 'aiokafka', 'asyncpg', 'aiohttp', 'fastavro') if m in sys.modules]; "
        "sys.exit(' '.join(heavy) or None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
