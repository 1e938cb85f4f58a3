"""The actors of the rolling-upgrade tests as they were."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from spawn import Actor, action


class Size(Enum):
    """How large a thing is."""

    SMALL = "s"
    MEDIUM = "m"


@dataclass(frozen=True)
class Put:
    """Event: something was put into the cart."""

    item: str
    size: Size = Size.SMALL


@dataclass(frozen=True)
class Content:
    """State: what is in the cart."""

    items: tuple[str, ...] = ()


class Cart(Actor[Content, Put]):
    """Event-sourced."""

    @action
    def put(self, item: str, size: Size = Size.SMALL) -> int:
        """Put something in; returns how many things are there."""
        self.emit(Put(item, size))
        return len(self.state.items)

    @action.read
    def items(self) -> tuple[str, ...]:
        """What is there."""
        return self.state.items

    @staticmethod
    def evolve(state: Content, event: Put) -> Content:
        """Add it at the end."""
        return Content((*state.items, event.item))


@dataclass(frozen=True)
class Page:
    """State: a page."""

    text: str = ""


class Note(Actor[Page]):
    """State style."""

    @action
    def write(self, text: str) -> None:
        """Write it anew."""
        self.state = Page(text)

    @action.read
    def text(self) -> str:
        """What is written."""
        return self.state.text
