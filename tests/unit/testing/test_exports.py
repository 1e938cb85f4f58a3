"""What `spawn.testing` offers."""

import pytest

import spawn.testing


def test_every_name_is_there() -> None:
    """The list is short, so that each is worth knowing."""
    names = ["Kit", "MemoryNode", "Outcome", "ReplayDiffers", "VirtualClock", "When"]
    assert spawn.testing.__all__ == names
    for name in names:
        assert getattr(spawn.testing, name).__name__ == name


def test_another_name_is_told() -> None:
    """With those that there are."""
    with pytest.raises(AttributeError, match=r"spawn\.testing has no Kitt; it has Kit, MemoryNode"):
        spawn.testing.Kitt  # noqa: B018
