"""The actors of the rolling-upgrade tests in their next version: it only adds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from spawn import Actor, action


class Size(Enum):
    """How large a thing is."""

    SMALL = "s"
    MEDIUM = "m"
    LARGE = "l"


@dataclass(frozen=True)
class Put:
    """Event: something was put into the cart."""

    item: str
    size: Size = Size.SMALL
    count: int = 1


@dataclass(frozen=True)
class Noted:
    """Event: the customer said something."""

    text: str


@dataclass(frozen=True)
class Content:
    """State: what is in the cart."""

    items: tuple[str, ...] = ()
    note: str = ""


class Cart(Actor[Content, Put | Noted]):
    """Event-sourced."""

    @action
    def put(self, item: str, size: Size = Size.SMALL, count: int = 1) -> int:
        """Put something in; returns how many things are there."""
        self.emit(Put(item, size, count))
        return len(self.state.items)

    @action
    def say(self, text: str) -> None:
        """Note what the customer says."""
        self.emit(Noted(text))

    @action.read
    def items(self) -> tuple[str, ...]:
        """What is there."""
        return self.state.items

    @action.read
    def note(self) -> str:
        """What was said last."""
        return self.state.note

    @staticmethod
    def evolve(state: Content, event: Put | Noted) -> Content:
        """Add things at the end; keep the last note."""
        match event:
            case Put(item=item, count=count):
                return replace(state, items=state.items + (item,) * count)
            case Noted(text=text):
                return replace(state, note=text)


@dataclass(frozen=True)
class Page:
    """State: a page."""

    text: str = ""
    colour: str = "black"


class Note(Actor[Page]):
    """State style."""

    @action
    def write(self, text: str) -> None:
        """Write it anew."""
        self.state = replace(self.state, text=text)

    @action
    def paint(self, colour: str) -> None:
        """Write on in another colour."""
        self.state = replace(self.state, colour=colour)

    @action.read
    def text(self) -> str:
        """What is written."""
        return self.state.text

    @action.read
    def colour(self) -> str:
        """In what."""
        return self.state.colour
