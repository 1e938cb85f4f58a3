"""The test kit for users of Spawn: actors in memory, no broker, a clock that stands still.

`Kit` runs one action at a time: given events, when an action, then events, reply and state. A
`MemoryNode` runs a whole system for programs beside actors. Both drive the code that runs in
production over `MemoryLog` and `MemorySnapshots`; nothing is implemented twice here, and nothing of
production may import this package. Names are loaded when they are first used, so that the pytest
plugin costs a run without actors nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spawn.errors import ReplayDiffers
    from spawn.testing.kit import Kit, When
    from spawn.testing.memory_node import MemoryNode
    from spawn.testing.outcome import Outcome
    from spawn.testing.virtual_clock import VirtualClock

__all__ = ["Kit", "MemoryNode", "Outcome", "ReplayDiffers", "VirtualClock", "When"]

_HOMES = {
    "Kit": "spawn.testing.kit",
    "MemoryNode": "spawn.testing.memory_node",
    "Outcome": "spawn.testing.outcome",
    "ReplayDiffers": "spawn.errors",
    "VirtualClock": "spawn.testing.virtual_clock",
    "When": "spawn.testing.kit",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"spawn.testing has no {name}; it has {', '.join(__all__)}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
