"""Where errors of a declaration are said to be: at the class, never in Python itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spawn.errors import InvalidTarget, SchemaIncompatible
from spawn.sdk.target import load_target, require_file

_ACTOR = """
from dataclasses import dataclass
from spawn import Actor, action

@dataclass(frozen=True)
class Added:
    {field}: int

@dataclass(frozen=True)
class Total:
    total: int = 0

class Counter(Actor[{state}, Added]):
    @action
    def add(self, n: int) -> None:
        self.emit(Added(n))

    @staticmethod
    def evolve(state, event):
        return state
"""


def _behavior(folder: Path, name: str, *, field: str = "n", state: str = "Total") -> Any:
    file = folder / f"{name}.py"
    file.write_text(_ACTOR.format(field=field, state=state), encoding="utf-8")
    return load_target(f"{name}.py", folder)


def test_a_state_that_is_no_class_of_fields_is_told_at_its_actor(tmp_path: Path) -> None:
    """An int has no source."""
    with pytest.raises(InvalidTarget) as caught:
        _behavior(tmp_path, "int_state", state="int")
    assert caught.value.at.startswith("int_state.py:")


def test_a_renamed_field_is_told_at_its_event(tmp_path: Path) -> None:
    """There it was renamed."""
    [old] = _behavior(tmp_path, "old_counter").behaviors
    [new] = _behavior(tmp_path, "new_counter", field="number").behaviors
    with pytest.raises(SchemaIncompatible) as caught:
        new.learn(old.schemas)
    lines = (tmp_path / "new_counter.py").read_text(encoding="utf-8").splitlines()
    name, line = caught.value.at.split(":")
    assert name == "new_counter.py"
    assert "Added" in "".join(lines[int(line) - 1 : int(line) + 1])


def test_a_missing_module_names_the_nearest_file(tmp_path: Path) -> None:
    """As a missing file does; both without loading anything."""
    (tmp_path / "counter.py").write_text("", encoding="utf-8")
    with pytest.raises(InvalidTarget) as caught:
        load_target("counterr", tmp_path)
    assert caught.value.hint == "did you mean counter.py?"
    with pytest.raises(InvalidTarget, match=r"countr\.py is not a file"):
        require_file("countr.py", tmp_path)
    require_file("counter.py:Counter", tmp_path)
    require_file("counter", tmp_path)
