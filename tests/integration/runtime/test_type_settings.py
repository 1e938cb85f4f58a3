"""Settings of one type, as they show in the log and at the edge."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from spawn import Actor, action, actor
from spawn.core.ingress import Call
from spawn.errors import KeyReused
from tests.integration.runtime.programs import Program


@dataclass(frozen=True)
class Text:
    """A state."""

    text: str = ""


@actor(record_commands=False)
class Secret(Actor[Text]):
    """Keeps what it makes of its commands, not the commands."""

    @action
    def learn(self, text: str) -> int:
        """Set the state."""
        self.state = Text(text)
        return len(text)


class Open(Actor[Text]):
    """Keeps its commands, as is usual."""

    @action
    def learn(self, text: str) -> int:
        """Set the state."""
        self.state = Text(text)
        return len(text)


@pytest.mark.parametrize(("cls", "payload"), [(Secret, b""), (Open, b'"abc"')])
async def test_commands_are_recorded_or_not(cls: type[Actor[Text]], payload: bytes) -> None:
    """Input and metadata; caller, key and reply stay, and keys work."""
    program = Program(cls)
    async with program.node() as node:
        call = Call(cls.__name__, "a", "learn", b'"abc"', 5.0, "k1", "me", {"trace": "x"})
        first = await node.invoke(call)
        assert await node.invoke(call) == first
        with pytest.raises(KeyReused):
            await node.invoke(Call(cls.__name__, "a", "learn", b'"x"', 5.0, key="k1"))
    (_, body), *_ = await program.commits(cls.__name__)
    assert (body.action, body.payload, body.caller, body.key) == ("learn", payload, "me", "k1")
    assert body.reply == b"3"
    assert dict(body.metadata) == ({"trace": "x"} if payload else {})
