"""What a type checker refuses in a user's tests; as `wrong_calls.py`."""

from spawn.testing import Kit
from tests.typing.right_calls import Added, Counter, Note, Total


async def wrong() -> None:
    """Misuse a kit."""
    kit = Kit(Counter)
    await kit.when(Counter.add, "five")  # type: ignore[arg-type]
    await kit.when(Counter.add)  # type: ignore[call-arg]
    await kit.when(Counter.add, 5, to="me")  # type: ignore[call-arg]
    await kit.when(Counter.ad, 5)  # type: ignore[attr-defined]
    kit.given(Total(1))  # type: ignore[arg-type]
    kit.given_state(Added(1))  # type: ignore[arg-type]
    Kit(Note).given(Added(1))  # type: ignore[arg-type]
    reply: str = (await kit.when(Counter.add, 5)).reply  # type: ignore[assignment]
    print(reply)
    Kit(Total)  # type: ignore[arg-type]
