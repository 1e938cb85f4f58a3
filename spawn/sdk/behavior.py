"""An actor class as the platform sees it: implements `spawn.core.behavior.Behavior`.

Everything that can be looked up, compiled or checked beforehand is, since `run` is a large part
of what a commit costs.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final

from eventstore.errors import UnreadableBody
from eventstore.records import Outcome
from spawn.core.behavior import ActionInfo, SchemaUse, TypeDescription, TypeSettings
from spawn.core.commands import Command
from spawn.core.decision import Decision, Refusal
from spawn.errors import ActionFailed, InvalidTarget, Rejected, ReplyGone
from spawn.sdk.actor import Actor, definition_of, new_instance, set_run
from spawn.sdk.carrying import LONG_DIGITS, Unfit, encode_json, too_long
from spawn.sdk.causes import cause, goes_on, is_ctrl_c, refusal_text, shortened, text_of
from spawn.sdk.definition import ActionPlan
from spawn.sdk.describing import describe
from spawn.sdk.history import History
from spawn.sdk.run import Run
from spawn.sdk.settings import settings_of
from spawn.sdk.shapes import place_of
from spawn.sdk.values import UnresolvedName

__all__ = ["ClassBehavior"]

_LOGGER: Final = logging.getLogger("spawn.actor")
_APPLIED: Final = Outcome.APPLIED
_new: Final = object.__new__
_ENDED: Final = "the action has ended"
_READ_ONLY: Final = "the action is read-only; to change something write @action"
_ACTIVATING: Final = "on_activate changes nothing"


class ClassBehavior:
    """Runs the actions of one actor class and stores its events and states."""

    def __init__(self, cls: type[Actor[Any, Any]]) -> None:
        """Raises: InvalidTarget - the class can't be an actor type."""
        try:
            definition = definition_of(cls)
        except UnresolvedName as error:
            raise InvalidTarget(str(error), at=place_of(cls)) from error
        self.cls = cls
        self.type: str
        self.settings: TypeSettings
        self.type, self.settings = settings_of(cls)
        self.plans: Mapping[str, ActionPlan] = definition.actions
        self.actions: Mapping[str, ActionInfo] = {
            name: plan.info for name, plan in definition.actions.items()
        }
        self.has_on_activate = definition.has_on_activate
        self._copy = definition.copy
        self._running = {
            name: (
                plan.info.is_async,
                plan.function,
                plan.reply.passed if definition.copy is None else frozenset(),
                plan,
            )
            for name, plan in definition.actions.items()
        }
        self._definition = definition
        self._on_create = definition.on_create
        self._history = History(self.type, definition)
        self._kinds = self._history.kinds
        self.learn = self._history.learn
        self.meet = self._history.meet
        self.evolve = self._history.fold
        self.decode_state = self._history.decode_state
        self.encode_state = self._history.encode_state
        self.event_json = self._history.event_json
        self.state_json = encode_json

    @property
    def schemas(self) -> Sequence[SchemaUse]:
        return self._history.schemas

    def describe(self) -> TypeDescription:
        return describe(self.cls, self._definition)

    def initial(self, actor_id: str) -> Any:
        try:
            state = self._definition.initial(actor_id)
            self._definition.check_state(state)
            return state if self._copy is None else self._copy(state)
        except Exception as error:
            raise UnreadableBody(
                f"initial of {self.type}/{actor_id} raised {cause(error)}"
            ) from error

    def decode_arguments(self, action: str, payload: bytes) -> tuple[Any, ...]:
        return self.plans[action].parameters.decode(payload)

    # --- commands --------------------------------------------------------------------------------

    def run(
        self, action: str, actor_id: str, state: Any, revision: int, time_us: int, command: Command
    ) -> Decision | Awaitable[Decision]:
        is_async, function, passed, plan = self._running[action]
        before = state
        run = Run(self.type, actor_id, state, revision, time_us, command, self._kinds)
        if self._copy is not None:
            try:
                run.state = state = self._copy(before)
            except Exception as error:  # noqa: BLE001 - what user code's copy raises is its failure
                return self._fail(plan, run, before, error)
        if is_async:
            return self._run_async(plan, run, command, before)
        instance = _new(self.cls)
        set_run(instance, run)
        try:
            if revision == 0 and self._on_create is not None:
                state = self._create(instance, run)
                reply = function(instance, *command.arguments)
                return self._decide(plan, run, reply, before, state)
            reply = function(instance, *command.arguments)
            if type(reply) in passed and run.events:
                # The usual case, written out; `_decide` comes to the same.
                reply_json = encode_json(reply)
                if len(reply_json) < LONG_DIGITS or type(reply) is not int:
                    return Decision(_APPLIED, run.state, reply, reply_json, run.events)
            return self._decide(plan, run, reply, before, state)
        except Rejected as error:
            return Decision(Outcome.REJECTED, before, refusal=_refusal(error))
        except BaseException as error:
            if is_ctrl_c(error):
                _log_failure(plan, run, error)
                raise
            return self._fail(plan, run, before, error)
        finally:
            run.closed = _ENDED

    async def _run_async(
        self, plan: ActionPlan, run: Run, command: Command, before: Any
    ) -> Decision:
        state = run.state
        instance = new_instance(self.cls, run)
        try:
            if run.revision == 0 and self._on_create is not None:
                state = self._create(instance, run)
            reply = await plan.function(instance, *command.arguments)
            return self._decide(plan, run, reply, before, state)
        except Rejected as error:
            return Decision(Outcome.REJECTED, before, refusal=_refusal(error))
        except BaseException as error:
            if goes_on(error):
                raise
            return self._fail(plan, run, before, error)
        finally:
            run.closed = _ENDED

    def _create(self, instance: Any, run: Run) -> Any:
        """Run `on_create`; return the state with which the action itself begins."""
        assert self._on_create is not None, "it is called only where there is one"
        self._on_create(instance)
        if run.deleted:
            raise TypeError("on_create can't delete what it creates")
        run.created, run.changed = len(run.events), False
        return run.state

    def _decide(self, plan: ActionPlan, run: Run, reply: Any, before: Any, begun: Any) -> Decision:
        """Weigh what the action did; what `on_create` did alone counts for nothing.

        `begun` is the state with which the action itself began.
        """
        reply, reply_json = _carried(plan, reply)
        if run.deleted:
            if run.revision == 0:
                return Decision(Outcome.UNCHANGED, before, reply, reply_json)
            state = self.initial(run.id)
            return Decision(_APPLIED, state, reply, reply_json, deleted=True)
        if len(run.events) > run.created:
            state = run.state if self._copy is None else self._replayed(run, before)
            return Decision(_APPLIED, state, reply, reply_json, run.events)
        if run.state is begun:
            if self._copy is not None and not run.created:
                self._refuse_change_in_place(run, before)
            return Decision(Outcome.UNCHANGED, before, reply, reply_json)
        replaced = self.encode_state(run.state)
        state = run.state if self._copy is None else self.decode_state(replaced)
        return Decision(_APPLIED, state, reply, reply_json, (), replaced)

    def _replayed(self, run: Run, before: Any) -> Any:
        """Return the state as a replay makes it: user code may hold parts of the live one."""
        state = self.evolve(run.id, before, run.events)
        self._refuse_change_in_place(run, state)
        return state

    def _refuse_change_in_place(self, run: Run, state: Any) -> None:
        if run.state is not state and self.encode_state(run.state) != self.encode_state(state):
            mend = "emit an event" if run.kinds else "set self.state to a changed copy"
            raise TypeError(f"self.state was changed in place, which no replay would see: {mend}")

    def _fail(self, plan: ActionPlan, run: Run, state: Any, error: BaseException) -> Decision:
        message = _log_failure(plan, run, error)
        return Decision(Outcome.FAILED, state, refusal=Refusal(ActionFailed.code, message))

    # --- reads -----------------------------------------------------------------------------------

    def read(
        self, action: str, actor_id: str, state: Any, revision: int, time_us: int, command: Command
    ) -> Any | Awaitable[Any]:
        plan = self.plans[action]
        run = Run(self.type, actor_id, state, revision, time_us, command, self._kinds, _READ_ONLY)
        if self._copy is not None:
            try:
                run.state = self._copy(state)
            except Exception as error:
                raise ActionFailed(_log_failure(plan, run, error)) from error
        if plan.info.is_async:
            return self._read_async(plan, run, command)
        try:
            reply = plan.function(new_instance(self.cls, run), *command.arguments)
            if type(reply) in plan.reply.passed and type(reply) is not int:
                return reply
            return _carried(plan, reply)[0]
        except Rejected as error:
            raise _retold(error) from error
        except BaseException as error:
            if is_ctrl_c(error):
                raise
            raise ActionFailed(_log_failure(plan, run, error)) from error

    async def _read_async(self, plan: ActionPlan, run: Run, command: Command) -> Any:
        try:
            reply = await plan.function(new_instance(self.cls, run), *command.arguments)
            return _carried(plan, reply)[0]
        except Rejected as error:
            raise _retold(error) from error
        except BaseException as error:
            if goes_on(error):
                raise
            raise ActionFailed(_log_failure(plan, run, error)) from error

    def encode_reply(self, action: str, reply: Any) -> bytes:
        return encode_json(reply)

    def decode_reply(self, action: str, reply: bytes) -> Any:
        """Raises: ReplyGone - the action that made it is gone, or returns something else now."""
        plan = self.plans.get(action)
        if plan is None:
            raise ReplyGone(f"{self.type}.{action} was executed, but the action no longer exists")
        try:
            return plan.reply.decode(reply)
        except ValueError as error:
            raise ReplyGone(
                f"{plan.full_name} replied {reply[:60].decode(errors='replace')} when it was "
                f"executed, which its annotation no longer allows: {error}"
            ) from error

    # --- activation ------------------------------------------------------------------------------

    async def on_activate(self, actor_id: str, state: Any, revision: int) -> None:
        run = Run(self.type, actor_id, state, revision, 0, None, self._kinds, _ACTIVATING)
        try:
            if self._copy is not None:
                run.state = self._copy(state)
            done = new_instance(self.cls, run).on_activate()
            if inspect.isawaitable(done):
                await done
        except BaseException as error:
            if goes_on(error):
                raise
            name = f"{self.type}/{actor_id}"
            fields = {"actor": name, "action": "on_activate", "revision": revision}
            _LOGGER.exception("on_activate of %s raised %s", name, cause(error), extra=fields)


def _carried(plan: ActionPlan, reply: Any) -> tuple[Any, bytes]:
    """Return a reply as its caller gets it, and as JSON. Raises: Unfit."""
    reply, reply_json = plan.reply.carry(reply, "the reply")
    if text := too_long(reply, reply_json, "the reply"):
        raise Unfit(text)
    return reply, reply_json


def _refusal(error: Rejected) -> Refusal:
    return Refusal(refusal_text(error.code), refusal_text(error.message))


def _retold(error: Rejected) -> Rejected:
    """Return a refusal made of text alone, whatever user code has put into it."""
    return Rejected(*_refusal(error), at=error.at, hint=error.hint)


def _log_failure(plan: ActionPlan, run: Run, error: BaseException) -> str:
    """Log what user code raised, with its traceback, and return the text for the caller."""
    if isinstance(error, Unfit):
        message = f"{plan.full_name} of {run.type_name}/{run.id}: {shortened(text_of(error))}"
    else:
        message = f"{plan.full_name} of {run.type_name}/{run.id} raised {cause(error)}"
    name = f"{run.type_name}/{run.id}"
    fields = {"actor": name, "action": plan.info.name, "revision": run.revision}
    _LOGGER.error("%s", message, exc_info=error, extra=fields)
    return message
