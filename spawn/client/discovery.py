"""A client keeps itself informed: who is there, who owns what, and who does not answer any more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from spawn.client.fleet import Address, Fleet, Told
from spawn.errors import SpawnError

if TYPE_CHECKING:
    import aiohttp

    from spawn.client.transport import Transport

__all__ = ["Discovery"]

_FRESH_S: Final = 15.0
"""What was told is asked for again with the first call after so long."""
_LEAST_S: Final = 0.2
"""Between two looks, however much moves."""
_ANSWER_S: Final = 2.0
_LIVE_S: Final = 1.0
_SLOW_S: Final = 1.0
"""A call that waits longer makes the client ask another node how its node stands."""
_CHECKS_AT_ONCE: Final = 8
_NODE: Final = "Spawn-Node"


class Discovery:
    """Looks now and then, in a task of its own."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        fleet: Fleet,
        transport: Transport,
        headers: Mapping[str, str],
        learn_types: Callable[[], Awaitable[None]],
    ) -> None:
        """`headers` carry the token, if there is one."""
        self._session, self._fleet, self._transport = session, fleet, transport
        self._headers, self._learn_types = headers, learn_types
        self._now = asyncio.get_running_loop().time
        self._wake = asyncio.Event()
        self._looked_at = float("-inf")
        self._tag: tuple[str, str] = ("", "")
        """Of the last answer: who gave it, and its ETag."""

    def called(self) -> None:
        """A call begins: look if what is known is old."""
        if self._now() - self._looked_at > _FRESH_S:
            self._wake.set()

    def moved(self) -> None:
        """Something is not as it was known to be: look soon."""
        self._wake.set()

    async def run(self) -> None:
        """Look whenever there is a reason. Never returns."""
        while True:
            await self._reason()
            self._looked_at = self._now()
            if await self._look():
                await self._find()
                try:
                    await self._learn_types()
                except SpawnError:
                    pass  # the next call that changes something asks itself
            self._transport.abandon(self._fleet.gone())
            await asyncio.sleep(_LEAST_S)

    async def _reason(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_SLOW_S):
                    await self._wake.wait()
            except TimeoutError:
                if not (self._fleet.has_others and self._transport.slow(_SLOW_S)):
                    continue
            self._wake.clear()
            return

    async def _look(self) -> bool:
        """Ask who owns what; tell whether there is an answer."""
        tried = set(self._transport.slow(_SLOW_S)) if self._fleet.has_others else set()
        while (address := self._fleet.choose(None, tried, self._now())) is not None:
            tried.add(address.url)
            told = await self._ask(address)
            if told is not None:
                return told
        return False

    async def _ask(self, address: Address) -> bool | None:
        """Ask one node; None: it does not answer, False: it can't tell."""
        import aiohttp

        headers = dict(self._headers)
        if self._tag[0] == address.url:
            headers["If-None-Match"] = self._tag[1]
        try:
            async with self._session.get(
                f"{address.url}/v1/owners",
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=_ANSWER_S),
                allow_redirects=False,
            ) as response:
                body = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError):
            self._fleet.failed(address.url, self._now())
            return None
        if response.status == 304:
            return True
        if response.status != 200:
            return False  # a node of an earlier release, or one that is alone
        try:
            told = msgspec.json.decode(body, type=Told)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        self._fleet.learn(told, address.url)
        self._tag = address.url, response.headers.get("ETag", "")
        return True

    async def _find(self) -> None:
        """See which of the nodes that were told are where they say."""
        unfound = list(self._fleet.unfound(self._now()).items())
        for start in range(0, len(unfound), _CHECKS_AT_ONCE):
            some = unfound[start : start + _CHECKS_AT_ONCE]
            await asyncio.gather(*(self._check(node_id, url) for node_id, url in some))

    async def _check(self, node_id: str, url: str) -> None:
        """Ask at an address who is there; the token is not shown to whoever it may be."""
        import aiohttp

        try:
            async with self._session.get(
                f"{url}/health/live",
                timeout=aiohttp.ClientTimeout(total=_LIVE_S),
                allow_redirects=False,
            ) as response:
                is_there = response.headers.get(_NODE) == node_id
        except (aiohttp.ClientError, TimeoutError, OSError):
            is_there = False
        if is_there:
            self._fleet.found(node_id)
        else:
            self._fleet.failed(url, self._now())
