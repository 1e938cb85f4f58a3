"""`spawn.Client`: typed references over HTTP, for programs that are no node."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, TypeVar, final
from urllib.parse import urlsplit

import msgspec

from spawn.client.paths import actor_path
from spawn.client.transport import Request, Transport
from spawn.client.trust import trust
from spawn.core.commands import Command
from spawn.core.ids import partition_of
from spawn.core.numbering import Numbers
from spawn.errors import InvalidId, InvalidTarget, NotStarted, SpawnError, Unavailable
from spawn.runtime.clock import SystemClock, random_id
from spawn.sdk.actor import Actor, definition_of, is_actor_type
from spawn.sdk.carrying import encode_json
from spawn.sdk.definition import ActionPlan
from spawn.sdk.references import TIMEOUT_S, Line, reference_maker
from spawn.sdk.settings import settings_of

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Client"]

A = TypeVar("A", bound=Actor[Any, Any])

CONNECTIONS_MAX: Final = 64


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
    partitions: int


class _Types(msgspec.Struct):
    types: list[_Served]


@final
class Client:
    """Calls the actors of a node.

        async with spawn.Client("http://127.0.0.1:9001") as client:
            await client.actor(Counter, "a").add(5)

    References are the same as in a node. A call that loses its connection, or meets a node that
    stops or is busy, is repeated until its deadline (60 s, or `options(timeout_s=...)`) and takes
    effect once. At the deadline it raises OutcomeUnknown if it may have been received, else what
    kept it from being executed.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        ca: str | Path | None = None,
        connections_max: int = CONNECTIONS_MAX,
    ) -> None:
        """`token` is what the node asks its callers for (`http.token`); `ca` a file of authorities.

        Neither is taken from the environment. `ca` is PEM; without it the system's are trusted.

        Raises: ValueError; OSError - `ca` can't be read.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"a node's address is http://host:port, got {url!r}")
        if connections_max < 1:
            raise ValueError(f"connections_max is at least 1, got {connections_max}")
        self.url = url.rstrip("/")
        self._token = token
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
        self._tasks: set[asyncio.Task[None]] = set()
        self._http: aiohttp.ClientSession | None = None
        self._transport: Transport | None = None

    async def __aenter__(self) -> Self:
        import aiohttp

        if self._transport is not None:
            raise RuntimeError("this client is open already")
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections_max, ssl=self._trust),
            headers=headers,
        )
        self._transport = Transport(self._http, self.url, random_id)
        loop = asyncio.get_running_loop()
        self._line.now, self._line.new_waiter = loop.time, loop.create_future
        self._line.submit = self._submit
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End it; calls that still wait are given up. May be called again."""
        self._transport = None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
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
        """Delete an actor: it starts again from its initial state. Raises: any SpawnError."""
        name = actor_type
        if not isinstance(name, str):
            known = self._known_of(name)
            name, actor_id = known.type, actor_id if actor_id is not None else known.named_id
        deadline = asyncio.get_running_loop().time() + timeout_s
        key = (actor_id or "").encode()
        await self._execute("DELETE", name, key, "", b"", deadline, idempotency_key or "")

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
        name. The reply comes as JSON's plain values. Raises: any SpawnError.
        """
        try:
            key = actor_id.encode()
        except (AttributeError, UnicodeEncodeError) as error:
            raise InvalidId(f"{actor_id!r} is no id: an id is a str of Unicode text") from error
        deadline = asyncio.get_running_loop().time() + timeout_s
        body = encode_json(argument)
        reply = await self._execute(
            "POST", actor_type, key, action, body, deadline, idempotency_key or ""
        )
        return msgspec.json.decode(reply)

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

    def _submit(self, command: Command) -> None:
        """Take a reference's command: its outcome reaches its waiter."""
        task = asyncio.get_running_loop().create_task(self._run(command))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        waiter: Any = command.waiter
        # Who gives up the wait gives up the repetitions, too.
        waiter.add_done_callback(lambda _: task.cancel())

    async def _run(self, command: Command) -> None:
        waiter = command.waiter
        assert waiter is not None, "references wait"
        plan = self._plans[command.type][command.action]
        name = f"{command.type}.{command.action}"
        try:
            reply = await self._execute(
                "POST",
                command.type,
                command.id,
                command.action,
                command.payload,
                command.deadline,
                command.key_text,
                is_read=plan.info.read_only,
            )
            try:
                value = plan.reply.decode(reply)
            except (ValueError, TypeError) as error:
                shown = reply[:60].decode(errors="replace")
                raise SpawnError(
                    f"{name} replied {shown}, which its annotation here does not allow: {error}",
                    hint="the node runs another version of the class",
                ) from error
        except asyncio.CancelledError:
            if not waiter.done():
                waiter.set_exception(Unavailable(f"the client was closed while {name} waited"))
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the waiter's
            if not waiter.done():
                waiter.set_exception(error)
        else:
            if not waiter.done():
                waiter.set_result(value)

    # --- requests ---------------------------------------------------------------------------------

    async def _execute(
        self,
        method: str,
        actor_type: str,
        key: bytes,
        action: str,
        body: bytes,
        deadline: float,
        idempotency_key: str,
        *,
        is_read: bool = False,
    ) -> bytes:
        transport = self._transport
        if transport is None:
            raise Unavailable(
                f"the client of {self.url} is not open",
                hint="call within `async with spawn.Client(...) as client`",
            )
        path = actor_path(actor_type, key.decode(), action)
        name = f"{actor_type}/{key.decode()}" + (f".{action}" if action else "")
        request = Request(method, path, body, deadline, name, idempotency_key, is_read)
        numbers = None if is_read else await self._numbers_of(transport, actor_type, key, deadline)
        if numbers is None:
            return await transport.execute(request, None, None)
        drawn = numbers.draw(self._now_us())
        try:
            return await transport.execute(request, drawn, numbers)
        finally:
            drawn.settle()

    async def _numbers_of(
        self, transport: Transport, actor_type: str, key: bytes, deadline: float
    ) -> Numbers | None:
        """Return the numbers of an actor's partition; None: the node has no such type."""
        if self._types is None or actor_type not in self._types:
            await self._ask_types(transport, actor_type, deadline)
            assert self._types is not None, "asked"
        served = self._types.get(actor_type)
        if served is None:
            return None
        # Types that share a topic share its partitions, and so their numbers.
        place = served.topic, partition_of(key, served.partitions)
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
                f"the deadline passed before {transport.url} told its actor types; nothing was sent"
            ) from None
        try:
            if self._types is None or actor_type not in self._types:
                body = await transport.get("/v1/types", deadline)
                found = msgspec.json.decode(body, type=_Types).types
                self._types = {served.type: served for served in found}
        finally:
            self._asking.release()
