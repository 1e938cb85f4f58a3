"""Targets: what `spawn run` and `spawn dev` load, and what is said of one that can't be."""

import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from spawn.errors import InvalidTarget
from spawn.sdk.system import System
from spawn.sdk.target import Target, load_target

HEAD = """\
from __future__ import annotations
from dataclasses import dataclass
from spawn import Actor, System, action, actor

@dataclass(frozen=True)
class Total:
    total: int = 0

class Counter(Actor[Total]):
    @action
    def add(self, n: int) -> int:
        return n

"""


@pytest.fixture(autouse=True)
def clean_imports() -> Iterator[None]:
    """Forget what a test imported."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(folder: Path, name: str, text: str, head: str = HEAD) -> Path:
    """Write a module."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(head + dedent(text), encoding="utf-8")
    return path


def refusal(target: str, folder: Path) -> InvalidTarget:
    """Return what is said of a target."""
    with pytest.raises(InvalidTarget) as caught:
        load_target(target, folder)
    return caught.value


def types(target: Target) -> list[str]:
    """Return the names of its actor types."""
    return [behavior.type for behavior in target.behaviors]


def test_a_file_without_a_system_gives_the_actors_defined_in_it(tmp_path: Path) -> None:
    """Not those that it imports, nor open bases."""
    write(tmp_path, "other.py", "")
    write(
        tmp_path,
        "shop.py",
        """
        import other
        from other import Counter as Imported
        class Cart(Actor[Total]): ...
        """,
    )
    target = load_target("shop.py", tmp_path)
    assert types(target) == ["Counter", "Cart"]
    assert (target.name, target.origin) == (None, "shop.py")
    assert target.system is not None


def test_the_only_system_of_a_module_counts(tmp_path: Path) -> None:
    """With its name and its actors; without actors, it takes those of the module."""
    write(tmp_path, "one.py", "class Cart(Actor[Total]): ...\nshop = System('shop', actors=[Cart])")
    write(tmp_path, "open.py", "shop = System('shop')\nref = shop.actor(Counter, 'a')")
    one, open_ = load_target("one.py", tmp_path), load_target("open.py", tmp_path)
    assert (one.name, types(one)) == ("shop", ["Cart"])
    assert (open_.name, types(open_)) == ("shop", ["Counter"])
    assert isinstance(open_.system, System)


def test_a_name_behind_a_colon_chooses(tmp_path: Path) -> None:
    """A system of several, or one class."""
    write(tmp_path, "pkg/__init__.py", "", head="")
    write(
        tmp_path,
        "pkg/two.py",
        "class Cart(Actor[Total]): ...\na = System('a')\nb = System('b', actors=[Cart])",
    )
    assert load_target("pkg.two:b", tmp_path).name == "b"
    assert types(load_target("pkg.two:Counter", tmp_path)) == ["Counter"]
    assert types(load_target("pkg/two.py:b", tmp_path)) == ["Cart"]
    error = refusal("pkg.two", tmp_path)
    assert str(error) == "pkg.two has several systems: a, b"
    assert error.hint == "name one: pkg.two:a"
    assert refusal("pkg.two:Countr", tmp_path).hint == "did you mean `Counter`?"
    assert "is neither a System nor an actor class" in str(refusal("pkg.two:Total", tmp_path))


def test_its_folder_is_found_by_imports_and_hides_nothing_afterwards(tmp_path: Path) -> None:
    """First on the path while loading, last afterwards."""
    write(tmp_path, "helper_of_target.py", "", head="")
    write(tmp_path, "shop.py", "import helper_of_target")
    before = list(sys.path)
    load_target("shop.py", tmp_path)
    assert sys.path == [*before, str(tmp_path)]


def test_a_file_named_like_a_module_of_python_hides_it_for_nobody(tmp_path: Path) -> None:
    """`json.py` is a fine name for a user's file."""
    import json

    write(tmp_path, "json.py", "")
    assert types(load_target("json.py", tmp_path)) == ["Counter"]
    assert sys.modules["json"] is json


def test_a_changed_file_is_loaded_anew(tmp_path: Path) -> None:
    """`spawn dev` does this after each save."""
    write(tmp_path, "shop.py", "")
    assert types(load_target("shop.py", tmp_path)) == ["Counter"]
    write(tmp_path, "shop.py", "class Cart(Actor[Total]): ...  # now longer")
    assert types(load_target("shop.py", tmp_path)) == ["Counter", "Cart"]


def test_a_missing_file_is_said_with_the_nearest(tmp_path: Path) -> None:
    """A typing mistake is the usual cause."""
    write(tmp_path, "counter.py", "")
    error = refusal("countr.py", tmp_path)
    assert str(error) == "countr.py is not a file"
    assert error.hint == "did you mean counter.py?"
    assert str(refusal("nowhere/x.py", tmp_path)) == "nowhere/x.py is not a file"


def test_a_missing_module_is_told_from_one_that_it_imports(tmp_path: Path) -> None:
    """`counter` for `counter.py` is the usual cause of the first."""
    write(tmp_path, "counter_file.py", "")
    write(tmp_path, "broken_import.py", "import no_such_module")
    assert str(refusal("no_module.here", tmp_path)) == "there is no module no_module.here"
    error = refusal("broken_import", tmp_path)
    assert str(error) == (
        "broken_import can't be loaded: ModuleNotFoundError: No module named 'no_such_module'"
    )
    assert error.at == "broken_import.py:14"


def test_a_syntax_error_is_shown_with_file_line_and_text(tmp_path: Path) -> None:
    """Also one in a module that it imports."""
    write(tmp_path, "bad.py", "def add(self, n: int\n    return n")
    write(tmp_path, "good.py", "import bad")
    for target in ("bad.py", "good.py"):
        error = refusal(target, tmp_path)
        assert str(error) == f"{target} can't be loaded: '(' was never closed: def add(self, n: int"
        assert error.at == "bad.py:14"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", "shop.py can't be loaded: ZeroDivisionError: division by zero"),
        ("raise SystemExit(2)", "shop.py can't be loaded: it ended the process (exit code 2)"),
    ],
)
def test_what_its_code_raises_is_shown_with_the_line(
    tmp_path: Path, text: str, message: str
) -> None:
    """Without our own frames."""
    write(tmp_path, "shop.py", text)
    error = refusal("shop.py", tmp_path)
    assert (str(error), error.at) == (message, "shop.py:14")
    assert "shop" not in sys.modules


def test_a_mistake_in_a_class_keeps_its_text_and_place(tmp_path: Path) -> None:
    """It is the definition's own error."""
    write(tmp_path, "shop.py", "class Cart(Actor[Total]):\n    def __init__(self): ...")
    error = refusal("shop.py", tmp_path)
    assert str(error).startswith("Cart.__init__ would run for every command")
    assert error.at == "shop.py:14"


def test_a_target_without_actors_is_refused(tmp_path: Path) -> None:
    """With what to write."""
    write(tmp_path, "empty.py", "x = 5", head="")
    error = refusal("empty.py", tmp_path)
    assert str(error) == "empty.py declares no actors"
    assert error.hint.startswith("write a class like")


def test_two_types_of_one_name_are_refused(tmp_path: Path) -> None:
    """Topics and URLs name them."""
    write(tmp_path, "shop.py", "@actor(name='Counter')\nclass Cart(Actor[Total]): ...")
    error = refusal("shop.py", tmp_path)
    assert str(error) == "two actor types are named Counter: shop.Counter and shop.Cart"
    assert error.hint.startswith("rename a class")
