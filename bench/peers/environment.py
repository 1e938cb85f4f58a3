"""Where the peers' programs are: `.peers/`, made by `make .peers`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from bench.world import ROOT

__all__ = ["HERE", "RESTATE_SERVER", "peer_program", "versions"]

HERE: Final = Path(__file__).parent
_FOLDER: Final = ROOT / ".peers"
RESTATE_SERVER: Final = _FOLDER / "node_modules/.bin/restate-server"


def peer_program(name: str) -> Path:
    """Return a program of the peers' Python environment. Raises: RuntimeError - not installed."""
    program = _FOLDER / "venv/bin" / name
    if not program.exists() or not RESTATE_SERVER.exists():
        raise RuntimeError("the peers are not installed: run `make .peers` (it needs npm)")
    return program


def versions() -> str:
    """Return what is compared with, for people."""
    packages = json.loads((HERE / "package.json").read_text(encoding="utf-8"))["dependencies"]
    server = packages["@restatedev/restate-server"]
    wanted = ("dbos", "hypercorn", "restate-sdk")
    lines = (HERE / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [line.split()[0].partition("==") for line in lines if "==" in line]
    found = [f"{name} {version}" for name, _, version in pins if name in wanted]
    return ", ".join([f"Restate server {server}", *found])
