"""A system: a name, the actor types in it, and references to their actors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from spawn.core.ids import NAME_PATTERN
from spawn.core.ingress import Dispatcher
from spawn.errors import InvalidTarget, UnknownType
from spawn.sdk.actor import Actor, is_actor_type
from spawn.sdk.behavior import ClassBehavior
from spawn.sdk.references import Line, reference_maker

__all__ = ["System"]

A = TypeVar("A", bound=Actor[Any, Any])


class System:
    """Actors that know each other: `system = System("shop", actors=[Cart, Order])`.

    Without `actors` it takes in those of the module that it stands in, when a node loads that.
    The name is that of topics and of the nodes' group; without one, the settings name it.
    """

    def __init__(
        self, name: str | None = None, *, actors: Iterable[type[Actor[Any, Any]]] = ()
    ) -> None:
        """Raises: InvalidTarget - a wrong name, or two types of one name."""
        if name is not None and not NAME_PATTERN.fullmatch(name):
            raise InvalidTarget(
                f"{name!r} is no name for a system: letters, digits, _ and -, a letter first, "
                "at most 63 in all"
            )
        self.name = name
        self._line = Line(name or "(without a name)")
        self._behaviors: dict[type, ClassBehavior] = {}
        self._makers: dict[type, Callable[[str | None], Any]] = {}
        self._open = True
        for cls in actors:
            self.add(cls)
            self._open = False

    @property
    def is_open(self) -> bool:
        """No actors were named: those of its module are meant."""
        return self._open

    @property
    def behaviors(self) -> Sequence[ClassBehavior]:
        """The actor types, for the node."""
        return list(self._behaviors.values())

    def add(self, cls: type[Actor[Any, Any]]) -> None:
        """Take an actor type in. Raises: InvalidTarget."""
        if not is_actor_type(cls):
            raise InvalidTarget(f"{cls!r} is no actor class")
        if cls in self._behaviors:
            return
        behavior = ClassBehavior(cls)
        if other := next((b for b in self._behaviors.values() if b.type == behavior.type), None):
            raise InvalidTarget(
                f"two actor types are named {behavior.type}: {_path(other.cls)} and {_path(cls)}",
                hint='rename a class, or write @actor(name="...") above one',
            )
        self._behaviors[cls] = behavior
        self._makers[cls] = reference_maker(
            self._line, behavior.type, behavior.settings.named_id, behavior.plans
        )

    def actor(self, actor_type: type[A], actor_id: str | None = None) -> A:
        """Return a reference to one actor, existing or not; a named type needs no id.

        To a type checker it is that actor; only its actions can be used:
        `await system.actor(Counter, "a").add(5)`. Raises: InvalidId, UnknownType.
        """
        try:
            make = self._makers[actor_type]
        except KeyError:
            make = self._take_in(actor_type)
        reference: A = make(actor_id)
        return reference

    def bind(self, dispatcher: Dispatcher) -> None:
        """Send calls to a node from now on; the node does this before it serves."""
        self._line.connect(dispatcher)

    def _take_in(self, cls: type[Actor[Any, Any]]) -> Callable[[str | None], Any]:
        if not (self._open and is_actor_type(cls)):
            if is_actor_type(cls) and self._line.refer(behavior := ClassBehavior(cls)):
                # Another node hosts it: it is called by name.
                make = self._makers[cls] = reference_maker(
                    self._line, behavior.type, behavior.settings.named_id, behavior.plans
                )
                return make
            name = getattr(cls, "__name__", repr(cls))
            known = ", ".join(behavior.type for behavior in self._behaviors.values())
            raise UnknownType(
                f"{name} is no actor type of system {self.name}; it has {known or 'none'}",
                hint=f"add it: System(..., actors=[..., {name}])",
            )
        self.add(cls)
        return self._makers[cls]


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
