"""The kit: one action at a time, in the words given, when, then.

out = await Kit(Counter).given(Added(2)).when(Counter.add, 5)
assert out.events == [Added(5)] and out.reply == 7 and out.state == Total(7)
"""

from __future__ import annotations

import asyncio
import copy
import warnings
from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, ParamSpec, Self, TypeVar, cast

import msgspec

from eventstore.records import Outcome as RecordOutcome
from spawn.core.commands import Command
from spawn.core.decision import Decision
from spawn.sdk.actions import Action
from spawn.sdk.actor import Actor, definition_of, new_instance
from spawn.sdk.run import Run
from spawn.sdk.shapes import type_text
from spawn.testing.outcome import Outcome
from spawn.testing.past import PastCommit, read_past
from spawn.testing.stage import Given, Stage
from spawn.testing.virtual_clock import VirtualClock

__all__ = ["Kit", "When"]

S = TypeVar("S")
E = TypeVar("E")
R = TypeVar("R")
P = ParamSpec("P")


class _Options(msgspec.Struct, frozen=True):
    """How commands are sent."""

    idempotency_key: str | None = None
    timeout_s: float | None = None
    caller: str = ""
    metadata: Mapping[str, str] | None = None


class Kit(Generic[S, E]):
    """Actors of one type in memory, on a clock that stands still.

    A kit stands for one actor; what was done to it stays. After each action its state is folded
    again from the encoded events and compared (`ReplayDiffers`). Needs no set-up and no end.
    """

    def __init__(
        self,
        actor_type: type[Actor[S, E]],
        actor_id: str | None = None,
        *,
        clock: VirtualClock | None = None,
    ) -> None:
        """`actor_id` is "a" unless given, of a named type its only id.

        Raises: InvalidTarget - the class is no actor type; InvalidId.
        """
        given: object = actor_type
        if not (isinstance(given, type) and issubclass(given, Actor)):
            raise TypeError(f"Kit takes an actor class, e.g. Kit(Counter), not {given!r}")
        self._stage = Stage(actor_type, clock or VirtualClock())
        if actor_id is None and not self._stage.behavior.settings.named_id:
            actor_id = "a"
        self._actor = self._stage.reference(actor_id)
        self._options = _Options()

    def _changed(self, **attributes: object) -> Kit[S, E]:
        kit = copy.copy(self)
        vars(kit).update(attributes)
        return kit

    # --- given -----------------------------------------------------------------------------------

    def given(self, *events: E) -> Self:
        """Let the actor have lived these events, each as one commit of the time that it is now.

        An actor in memory leaves it first: what is given is its past. Raises: TypeError - not
        events of this type; what `evolve` raises; ReplayDiffers.
        """
        self._stage.give(self.id, [self._given(event) for event in events])
        return self

    def given_state(self, state: S) -> Self:
        """Let the actor have this state, set by one commit. Raises: as `given`."""
        self._stage.give(self.id, [self._given_state(state)])
        return self

    def given_history(self, history: str | Path | Iterable[str]) -> Self:
        """Let the actor have lived a real one's past: what `spawn events TYPE/ID --json` printed.

        `history` is a file's path, or its lines. Refused commands in it are left out, and the
        clock moves to the last change's time. Raises: OSError; ValueError - a line does not fit
        the actor's classes; as `given`.
        """
        kinds = {name: kind for kind, (name, *_) in self._stage.cast.kinds.items()}
        states = definition_of(self._stage.behavior.cls).state_types
        past = read_past(history, kinds, states)
        if past and past[-1].time > self.clock.now:
            self.clock.move_to(past[-1].time)
        self._stage.give(self.id, [self._given_commit(commit) for commit in past])
        return self

    def at(self, moment: datetime) -> Self:
        """Let time pass up to a moment; the same as `kit.clock.move_to`. Raises: ValueError."""
        self.clock.move_to(moment)
        return self

    def restart(self, *, snapshot: bool = True) -> Self:
        """Stop and start the node: the state comes from the snapshot, or from events alone."""
        self._stage.restart(snapshot=snapshot)
        return self

    def _given(self, event: Any) -> Given:
        name, kinds = self._stage.behavior.type, self._stage.cast.kinds
        if not kinds:
            raise TypeError(
                f"{name} has no events, its state is set: write given_state(...), not "
                f"given({_text(event)})"
            )
        if isinstance(event, type):
            raise TypeError(f"given takes events, {event.__name__} is a class: {event.__name__}()")
        if type(event) not in kinds:
            declared = ", ".join(kind.__name__ for kind in kinds)
            text = type_text(type(event))
            raise TypeError(f"{name} can't be given {text}; its events are {declared}")

        def decide(run: Run) -> Decision:
            instance: Any = new_instance(self._stage.behavior.cls, run)
            instance.emit(event)
            return Decision(RecordOutcome.APPLIED, run.state, events=run.events)

        return decide

    def _given_commit(self, commit: PastCommit) -> Given:
        def decide(run: Run) -> Decision:
            if commit.deleted:
                return Decision(RecordOutcome.APPLIED, run.state, deleted=True)
            instance: Any = new_instance(self._stage.behavior.cls, run)
            for event in commit.events:
                instance.emit(event)
            return Decision(RecordOutcome.APPLIED, run.state, events=run.events)

        return decide if commit.events or commit.deleted else self._given_state(commit.state)

    def _given_state(self, state: Any) -> Given:
        behavior = self._stage.behavior
        allowed = definition_of(behavior.cls).state_types
        if type(state) not in allowed:
            names = ", ".join(sorted(each.__name__ for each in allowed))
            raise TypeError(f"{behavior.type} can't have {_text(state)} as its state: {names}")
        encoded = behavior.encode_state(state)
        return lambda _run: Decision(RecordOutcome.APPLIED, state, replaced=encoded)

    # --- when ------------------------------------------------------------------------------------

    def when(self, action: Action[P, R], /, *args: P.args, **kwargs: P.kwargs) -> When[S, E, R]:
        """Run an action: `await kit.when(Counter.add, 5)`, or `.now()` in a test without async.

        It raises what the caller of the action would get: Rejected, ActionFailed (its cause is
        what the action raised), BodyMismatch, KeyReused, ...; and ReplayDiffers.
        """
        behavior, candidate = self._stage.behavior, cast("object", action)
        if not isinstance(candidate, Action):
            *_, example = ["act", *behavior.actions]
            raise TypeError(
                "when takes an action of the class and its arguments, e.g. "
                f"when({behavior.cls.__name__}.{example}, ...), not {_text(action)}"
            )
        if getattr(behavior.cls, action.name, None) is not action:
            raise TypeError(
                f"{action.function.__qualname__} is no action of {behavior.cls.__name__}; "
                f"its actions are {', '.join(behavior.actions) or 'none'}"
            )
        parts = [*map(_text, args), *(f"{name}={_text(value)}" for name, value in kwargs.items())]
        text = f"kit.when({', '.join([f'{behavior.cls.__name__}.{action.name}', *parts])})"
        return When(self._stage, text, lambda: self._run(text, action.name, args, kwargs))

    def options(
        self,
        *,
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
        caller: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Kit[S, E]:
        """Return this actor's kit, whose commands are sent with these.

        Key and time-out are those of `system.actor(...).add.options`; caller and metadata are what
        an edge as HTTP puts in.
        """
        options = self._options
        changed = _Options(
            options.idempotency_key if idempotency_key is None else idempotency_key,
            options.timeout_s if timeout_s is None else timeout_s,
            options.caller if caller is None else caller,
            options.metadata if metadata is None else metadata,
        )
        return self._changed(_options=changed)

    def actor(self, actor_id: str) -> Kit[S, E]:
        """Return the kit of another actor of this type, in the same memory and time.

        Raises: InvalidId.
        """
        return self._changed(_actor=self._stage.reference(actor_id), _options=_Options())

    async def _run(
        self, text: str, action: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Outcome[S, E, Any]:
        call: Any = getattr(self._actor, action)
        options = self._options
        if options.idempotency_key is not None or options.timeout_s is not None:
            call = call.options(
                idempotency_key=options.idempotency_key, timeout_s=options.timeout_s
            )

        def change(command: Command) -> None:
            command.caller, command.metadata = options.caller, options.metadata

        ran = await self._stage.run(text, self.id, lambda: call(*args, **kwargs), change)
        now = self._stage.replay(self.id)
        return Outcome([*ran.events], ran.reply, now.state, now.revision, now.deleted)

    # --- then ------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The actor's id."""
        return self._actor.id

    @property
    def clock(self) -> VirtualClock:
        """The time of this kit: `kit.clock.advance(60)`."""
        return self._stage.clock

    @property
    def state(self) -> S:
        """The actor's state now; the initial one if it was never written, or deleted."""
        state: S = self._stage.replay(self.id).state
        return state

    @property
    def revision(self) -> int:
        """How many commits have changed the actor, those given among them."""
        return self._stage.replay(self.id).revision

    @property
    def events(self) -> Sequence[E]:
        """All events of the actor, those given first."""
        return list(self._stage.replay(self.id).events)

    def require_all_run(self) -> None:
        """Raises: RuntimeError - a command was written down and never run."""
        self._stage.require_nothing_forgotten()

    def __repr__(self) -> str:
        return f"<kit of {self._stage.behavior.type}/{self.id}>"


class When(Generic[S, E, R]):
    """One command, to be run once: by `await`, or by `now()` where no event loop runs."""

    def __init__(
        self, stage: Stage, text: str, run: Callable[[], Coroutine[Any, Any, Outcome[S, E, R]]]
    ) -> None:
        self._stage = stage
        self._text = text
        self._run: Callable[[], Coroutine[Any, Any, Outcome[S, E, R]]] | None = run

    def __await__(self) -> Generator[Any, Any, Outcome[S, E, R]]:
        try:
            asyncio.get_running_loop()
        except RuntimeError as error:
            raise RuntimeError(
                f"{self._text} needs an event loop of asyncio; in a test that is not async write "
                "kit.when(...).now()"
            ) from error
        return self._begin().__await__()

    def now(self) -> Outcome[S, E, R]:
        """Run it, in an event loop of its own. Raises: RuntimeError - one runs here already."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
                return runner.run(self._begin())
        raise RuntimeError(f"an event loop runs here, so write: await {self._text}")

    def _begin(self) -> Coroutine[Any, Any, Outcome[S, E, R]]:
        if self._run is None:
            raise RuntimeError(f"{self._text} ran already: write it once more to run it again")
        run, self._run = self._run, None
        return run()

    def __repr__(self) -> str:
        return f"<{self._text}, {'not run yet' if self._run else 'run'}>"

    def __del__(self) -> None:
        if getattr(self, "_run", None) is not None:
            self._stage.forgotten = self._text
            warnings.warn(f"{self._text} was never run", RuntimeWarning, stacklevel=2)


def _text(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:97] + "..."
