"""`spawn.Client`: typed references over HTTP, for programs that are no node.

Over 400 lines: a third of it is what users read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, Self, TypeVar, final
from urllib.parse import urlsplit

import msgspec

from spawn.client.discovery import Discovery
from spawn.client.fleet import Address, Fleet, Place
from spawn.client.paths import actor_path, addresses_of, checked_key, is_visible, node_address
from spawn.client.problems import no_node
from spawn.client.transport import Request, Transport, open_session
from spawn.client.trust import trust
from spawn.core.commands import Command
from spawn.core.ids import partition_of
from spawn.core.numbering import Numbers
from spawn.errors import (
    BodyMismatch,
    InvalidId,
    InvalidTarget,
    NotStarted,
    SpawnError,
    Unavailable,
    UnknownType,
)
from spawn.runtime.clock import SystemClock, random_id
from spawn.sdk.actor import Actor, definition_of, is_actor_type
from spawn.sdk.carrying import encode_json
from spawn.sdk.definition import ActionPlan
from spawn.sdk.references import TIMEOUT_S, Line, check_key, check_timeout, reference_maker
from spawn.sdk.settings import settings_of

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Client"]

A = TypeVar("A", bound=Actor[Any, Any])

CONNECTIONS_MAX: Final = 64
_TYPES_S: Final = 10.0


class _Known(NamedTuple):
    """An actor class whose references were asked for."""

    type: str
    plans: Mapping[str, ActionPlan]
    make: Callable[[str | None], Any]
    named_id: str


class _Served(msgspec.Struct):
    """What `/v1/types` says of a type, as far as a client needs it."""

    type: str
    topic: str
    partitions: Annotated[int, msgspec.Meta(ge=1)]


class _Types(msgspec.Struct):
    types: list[_Served]
    elsewhere: list[_Served] = []
    """Of other nodes, to which the node sends calls."""


@final
class Client:
    """Calls the actors of a system, through any of its nodes.

        async with spawn.Client("http://127.0.0.1:9001") as client:
            await client.actor(Counter, "a").add(5)

    One address is enough: the client learns of the other nodes and calls the owner of an actor
    itself; with several it starts also where some of them are gone. References are the same as in a
    node. A call that loses its connection, or meets a node that
    stops or is busy, is repeated until its deadline (60 s, or `options(timeout_s=...)`) and takes
    effect once. At the deadline it raises OutcomeUnknown if it may have been received, else what
    kept it from being executed.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        token: str = "",
        ca: str | Path | None = None,
        connections_max: int = CONNECTIONS_MAX,
        direct: bool = True,
    ) -> None:
        """`url` is a node's address, or several, in a list or with commas between.

        `token` is what nodes ask their callers for (`http.token`); `ca` a file of authorities.
        Neither is taken from the environment. `ca` is PEM; without it the system's are trusted.

        Without `direct` only the addresses given are called; so it is by itself where one has a
        path or a user, since that is a gateway's.

        Raises: TypeError, ValueError - what is given can't be an address, a token or a number;
        OSError - `ca` can't be read.
        """
        shown = [(each, node_address(each)) for each in addresses_of(url)]
        addresses = [Address(str(each).rstrip("/"), text) for each, text in shown]
        self.url = ", ".join(each.shown for each in addresses)
        """What was given; a password in it is masked."""
        if not isinstance(token, str):
            raise TypeError(f"a token is a str, got {type(token).__name__}")
        if token and not is_visible(token):
            raise ValueError("a token has visible ASCII characters only")
        parts = [urlsplit(each.url) for each in addresses]
        if token and any("@" in each.netloc for each in parts):
            raise ValueError("a token and a user in the address exclude each other")
        if connections_max < 1:
            raise ValueError(f"connections_max is at least 1, got {connections_max}")
        self._addresses = addresses
        self._direct = direct and not any("@" in each.netloc or each.path for each in parts)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._trust = trust(ca)
        self._connections_max = connections_max
        self._now_us = SystemClock().time_us
        self._session_id = random_id()
        self._line = Line(f"at {self.url}")
        self._known: dict[type, _Known] = {}
        self._plans: dict[str, Mapping[str, ActionPlan]] = {}
        self._numbers: dict[tuple[str, int], Numbers] = {}
        self._types: Mapping[str, _Served] | None = None
        self._asking = asyncio.Lock()
        self._in_flight: dict[asyncio.Task[None], tuple[asyncio.Future[Any], Request]] = {}
        self._http: aiohttp.ClientSession | None = None
        self._transport: Transport | None = None
        self._discovery: Discovery | None = None
        self._discovering: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._line.now, self._line.new_waiter = self._now, self._new_waiter
        self._line.submit = self._submit

    async def __aenter__(self) -> Self:
        if self._transport is not None:
            raise RuntimeError("this client is open already")
        self._loop = asyncio.get_running_loop()
        self._asking = asyncio.Lock()  # a lock belongs to one event loop
        self._http = open_session(self._connections_max, self._trust)
        fleet = Fleet(self._addresses)
        transport = Transport(self._http, fleet, random_id, self._headers)
        self._transport = transport
        if self._direct:

            async def learn_types() -> None:
                if self._types is None:
                    await self._ask_types(transport, "", self._now() + _TYPES_S)

            self._discovery = Discovery(self._http, fleet, transport, self._headers, learn_types)
            transport.moved = self._discovery.moved
            self._discovering = self._loop.create_task(self._discovery.run())
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End it. May be called again.

        Calls that still wait raise OutcomeUnknown if they may have been received, else Unavailable.
        """
        self._transport = self._discovery = None
        discovering, self._discovering = self._discovering, None
        in_flight = dict(self._in_flight)
        for waiter, request in in_flight.values():
            if not waiter.done():
                text = f"the client was closed while {request.name} waited"
                waiter.set_exception(request.given_up(Unavailable(text)))
        ending = [*in_flight, *([] if discovering is None else [discovering])]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        if self._http is not None:
            await self._http.close()

    def actor(self, actor_type: type[A], actor_id: str | None = None) -> A:
        """Return a reference to one actor, existing or not; a named type needs no id.

        Raises: InvalidId, UnknownType, InvalidTarget.
        """
        reference: A = self._known_of(actor_type).make(actor_id)
        return reference

    async def delete(
        self,
        actor_type: type[Actor[Any, Any]] | str,
        actor_id: str | None = None,
        *,
        idempotency_key: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Delete an actor: it starts again from its initial state.

        Raises: any SpawnError; ValueError - no timeout or key.
        """
        check_timeout(timeout_s)
        check_key(idempotency_key)
        name = actor_type
        if not isinstance(name, str):
            known = self._known_of(name)
            name, actor_id = known.type, actor_id if actor_id is not None else known.named_id
        await self._begin("DELETE", name, actor_id or "", "", b"", timeout_s, idempotency_key)

    async def call(
        self,
        actor_type: str,
        actor_id: str,
        action: str,
        argument: Any = None,
        /,
        *,
        idempotency_key: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Any:
        """Call an action by names, for programs without the actor's class.

        `argument` is what the body would be: of one parameter its value, of several a mapping by
        name. The reply comes as JSON's plain values.

        Raises: any SpawnError; ValueError - no timeout or key.
        """
        check_timeout(timeout_s)
        check_key(idempotency_key)
        try:
            body = encode_json(argument)
        except (TypeError, ValueError, RecursionError) as error:
            raise BodyMismatch(
                f"{actor_type}.{action}: the argument has no JSON: {error}"
            ) from error
        reply = await self._begin(
            "POST", actor_type, actor_id, action, body, timeout_s, idempotency_key
        )
        try:
            return msgspec.json.decode(reply)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise no_node(self.url, f"its reply is not JSON: {error}", actor_type) from error

    # --- references -------------------------------------------------------------------------------

    def _known_of(self, cls: type[Actor[Any, Any]]) -> _Known:
        known = self._known.get(cls)
        if known is None:
            if not is_actor_type(cls):
                raise InvalidTarget(f"{cls!r} is no actor class")
            name, settings = settings_of(cls)
            plans = definition_of(cls).actions
            make = reference_maker(self._line, name, settings.named_id, plans)
            known = self._known[cls] = _Known(name, plans, make, settings.named_id)
            self._plans[name] = plans
        return known

    def _now(self) -> float:
        return self._here().time()

    def _new_waiter(self) -> asyncio.Future[Any]:
        return self._here().create_future()

    def _here(self) -> asyncio.AbstractEventLoop:
        """Return the event loop. Raises: Unavailable, RuntimeError."""
        if self._transport is None or self._loop is None:
            raise Unavailable(
                f"the client of {self.url} is not open",
                hint="call within `async with spawn.Client(...) as client`",
            )
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is not self._loop:
            raise RuntimeError(
                f"the client of {self.url} was opened in another event loop: "
                "open one in each loop, and call it there"
            )
        return self._loop

    def _submit(self, command: Command) -> None:
        """Take a reference's command: its outcome reaches its waiter."""
        plan = self._plans[command.type][command.action]
        actor_id = command.id.decode()
        request = Request(
            "POST",
            actor_path(command.type, actor_id, command.action),
            command.payload,
            command.deadline,
            f"{command.type}/{actor_id}.{command.action}",
            checked_key(command.key_text),
            plan.info.read_only,
        )
        waiter: Any = command.waiter
        assert waiter is not None, "references wait"
        self._start(request, command.type, command.id, waiter, plan)

    # --- requests ---------------------------------------------------------------------------------

    async def _begin(
        self,
        method: str,
        actor_type: str,
        actor_id: str,
        action: str,
        body: bytes,
        timeout_s: float,
        idempotency_key: str | None,
    ) -> bytes:
        """Start a request that names its actor by words, and return its reply."""
        waiter = self._new_waiter()
        try:
            key = actor_id.encode()
        except (AttributeError, UnicodeEncodeError) as error:
            raise InvalidId(f"{actor_id!r} is no id: an id is a str of Unicode text") from error
        try:
            path = actor_path(actor_type, actor_id, action)
        except (TypeError, UnicodeEncodeError) as error:
            raise UnknownType(f"{actor_type!r}.{action!r} is no name of an action") from error
        name = f"{actor_type}/{actor_id}" + (f".{action}" if action else "")
        idempotency_key = checked_key(idempotency_key or "")
        request = Request(method, path, body, self._now() + timeout_s, name, idempotency_key)
        self._start(request, actor_type, key, waiter, None)
        reply: bytes = await waiter
        return reply

    def _start(
        self,
        request: Request,
        actor_type: str,
        key: bytes,
        waiter: asyncio.Future[Any],
        plan: ActionPlan | None,
    ) -> None:
        """Send a request in a task of its own: `close` knows of it, and tells its waiter."""
        task = self._here().create_task(self._run(request, actor_type, key, waiter, plan))
        self._in_flight[task] = waiter, request
        task.add_done_callback(self._in_flight.pop)
        # Who gives up the wait gives up the repetitions, too.
        waiter.add_done_callback(lambda _: task.cancel())

    async def _run(
        self,
        request: Request,
        actor_type: str,
        key: bytes,
        waiter: asyncio.Future[Any],
        plan: ActionPlan | None,
    ) -> None:
        try:
            value: Any = await self._execute(request, actor_type, key)
            if plan is not None:
                value = self._decoded(plan, value)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the waiter's
            if not waiter.done():
                waiter.set_exception(error)
        else:
            if not waiter.done():
                waiter.set_result(value)

    def _decoded(self, plan: ActionPlan, reply: bytes) -> Any:
        """Return a reply as its annotation has it. Raises: SpawnError."""
        try:
            return plan.reply.decode(reply)
        except Exception as error:
            if _is_no_json(reply):
                raise no_node(self.url, "its reply is not JSON", plan.full_name) from error
            shown = reply[:60].decode(errors="replace")
            raise SpawnError(
                f"{plan.full_name} replied {shown}, which its annotation here does not allow: "
                f"{error}",
                hint="the node runs another version of the class",
            ) from error

    async def _execute(self, request: Request, actor_type: str, key: bytes) -> bytes:
        transport = self._transport
        assert transport is not None, "a request starts while the client is open"
        if self._discovery is not None:
            self._discovery.called()
        if not request.is_read and (self._types is None or actor_type not in self._types):
            await self._ask_types(transport, actor_type, request.deadline)
        request.place = self._place_of(actor_type, key)
        if request.is_read or request.place is None:
            return await transport.execute(request, None, None)
        numbers = self._numbers_of(request.place)
        drawn = numbers.draw(self._now_us())
        try:
            return await transport.execute(request, drawn, numbers)
        finally:
            drawn.settle()

    def _place_of(self, actor_type: str, key: bytes) -> Place | None:
        """Return an actor's partition; None: no such type is known."""
        served = None if self._types is None else self._types.get(actor_type)
        return None if served is None else (served.topic, partition_of(key, served.partitions))

    def _numbers_of(self, place: Place) -> Numbers:
        """Return a partition's numbers: types that share a topic share them."""
        numbers = self._numbers.get(place)
        if numbers is None:
            numbers = self._numbers[place] = Numbers(self._session_id, random_id)
        return numbers

    async def _ask_types(self, transport: Transport, actor_type: str, deadline: float) -> None:
        """Ask what the node serves, one call for all that need to know it. Raises: SpawnError."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._asking.acquire()
        except TimeoutError:
            raise NotStarted(
                f"the deadline passed before {self.url} told its actor types; nothing was sent"
            ) from None
        try:
            if self._types is None or actor_type not in self._types:
                body = await transport.get("/v1/types", deadline)
                try:
                    told = msgspec.json.decode(body, type=_Types)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                    raise no_node(self.url, f"its /v1/types: {error}", "/v1/types") from error
                self._types = {each.type: each for each in (*told.elsewhere, *told.types)}
        finally:
            self._asking.release()


def _is_no_json(reply: bytes) -> bool:
    try:
        msgspec.json.decode(reply, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return True
    return False
