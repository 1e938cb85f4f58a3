"""An actor in state style, with one action of each kind."""

import asyncio
from dataclasses import dataclass
from typing import cast

from spawn.sdk.actions import action
from spawn.sdk.actor import Actor

__all__ = ["Note", "Notes"]


@dataclass(frozen=True)
class Note:
    """A state."""

    text: str = ""


class Notes(Actor[Note]):
    """State style, with one action of each kind."""

    @action
    def write(self, text: str) -> str:
        """Set a new state."""
        self.state = Note(text)
        return self.state.text

    @action
    def look(self) -> str:
        """Change nothing."""
        return self.state.text

    @action
    def spoil(self) -> None:
        """Set a state that can't be stored."""
        self.state = Note(cast("str", 5))

    @action
    async def write_later(self, text: str) -> str:
        """Set a new state after a while."""
        await asyncio.sleep(0)
        self.state = Note(text)
        return text

    @action
    async def wait(self) -> None:
        """Never end."""
        await asyncio.Event().wait()

    @action.read
    async def shout(self) -> str:
        """Read, async."""
        await asyncio.sleep(0)
        return self.state.text.upper()
