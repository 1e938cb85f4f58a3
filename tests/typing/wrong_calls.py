"""What a type checker refuses: the marked lines have exactly these errors, the others none.

Checked by `test_types.py`, never run. An error that no longer comes is an unused `type: ignore`,
which mypy reports.
"""

from dataclasses import dataclass
from typing import assert_never

from spawn import Actor, action, actor
from tests.typing.right_calls import Added, Counter, Note, Reset, Total, system


@dataclass(frozen=True)
class Undeclared:
    """No event of any actor."""


class Wrong(Actor[Total, Added | Reset]):
    """Misuses what it inherits."""

    @action
    def undeclared(self) -> None:
        """Emit what the class does not declare."""
        self.emit(Undeclared())  # type: ignore[arg-type]

    @action
    def wrong_state(self) -> str:
        """Take the state for something else."""
        return self.state.total  # type: ignore[return-value]

    @staticmethod
    def evolve(state: Total, event: Added | Reset) -> Total:
        """Forget an event."""
        match event:
            case Added():
                return state
            case _:
                assert_never(event)  # type: ignore[arg-type]


class WrongEvolve(Actor[Total, Added | Reset]):
    """Folds another event than it declares."""

    @staticmethod
    def evolve(state: Total, event: Added) -> Total:  # type: ignore[override]
        """Take only one of them."""
        return state


class WrongState(Actor[Total]):
    """State style."""

    @action
    def set(self) -> None:
        """Set something else, and emit an event."""
        self.state = Added(5)  # type: ignore[assignment]
        self.emit(Added(5))  # type: ignore[arg-type]


@actor(idle_timeout=5)  # type: ignore[call-overload]
class WrongSetting(Actor[Total]):
    """Names a setting that is none."""


async def call() -> None:
    """Call actions wrongly."""
    counter = system.actor(Counter, "a")
    await counter.add("five")  # type: ignore[arg-type]
    await counter.add()  # type: ignore[call-arg]
    await counter.add(5, to="x")  # type: ignore[call-arg]
    await counter.ad(5)  # type: ignore[attr-defined]
    await system.actor(Counter, 5).add(5)  # type: ignore[arg-type]
    await system.actor(int, "a").add(5)  # type: ignore[type-var, attr-defined]
    await counter.add.options(timeout=2)(5)  # type: ignore[call-arg]
    await counter.add.options(timeout_s=2)("five")  # type: ignore[arg-type]
    text: str = await counter.add(5)  # type: ignore[assignment]
    await system.actor(Note, text).write()  # type: ignore[call-arg]
    counter.add(5)  # type: ignore[unused-coroutine]
    counter.total()  # type: ignore[unused-coroutine]
    await counter.import_file(5)  # type: ignore[arg-type]
    text = await counter.get_state()  # type: ignore[assignment]
    await counter.get_state(5)  # type: ignore[call-arg]
    number: int = counter.total()  # type: ignore[assignment]
    await counter.add(number)
