"""The ready-made answers to "who may use this relay?", as the configuration file names them.

    everyone          all                               access.Everyone
    allowlist         these ids, nobody else            Allowlist
    denylist          all but these ids                 Denylist
    shared_token      who shows one of these tokens     SharedToken
    http              whom a web service lets in        HttpCallout

What is asked of the web service, and the only answer that means yes:

    POST <url>                                  200
    X-Iroh-NodeId: <64 hex digits>              true
    X-Iroh-Endpoint-Id: <the same>
    Authorization: Bearer <token>               (if one is configured)

A denied client is told "not authorized" and nothing more.
Source: iroh-relay `main.rs` (`AccessConfig`, `http_access_check_inner`), which waits for ever. The
first header is the deprecated name of the second.
"""

import asyncio
import hmac
import logging
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, Protocol

from iroh_base.keys import PublicKey

from .access import ALLOW, DENY, Access, ClientRequest

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Allowlist", "Ask", "Denylist", "HttpCallout", "SharedToken"]

logger: logging.Logger = logging.getLogger(__name__)

CALLOUT_TIMEOUT: Final = 5.0
"""Seconds a web service may take to decide. Ours: upstream waits for ever, and so does its
client."""
CALLOUT_CACHE: Final = 10.0
"""Seconds a yes of the web service is remembered: a reconnecting client is not asked about
again at once. Ours; 0 asks every time, as upstream does."""
MAX_REMEMBERED: Final = 16_384
_MAX_ANSWER: Final = 64
"""More than this is not `true`, however it goes on."""
_ID_HEADERS: Final = ("X-Iroh-NodeId", "X-Iroh-Endpoint-Id")
"""Upstream sends both, the first for web services that do not know the second yet."""


class _Listed:
    """What both lists share: a set of ids that can be replaced while the relay runs."""

    def __init__(self, ids: Iterable[PublicKey]) -> None:
        self.ids: frozenset[PublicKey] = frozenset(ids)

    def on_disconnect(self, endpoint_id: PublicKey, connection_id: int) -> None:
        """Nothing to remember."""


class Allowlist(_Listed):
    """Admits these ids only."""

    async def on_connect(self, request: ClientRequest) -> Access:
        """Yes if the id is listed. Never waits."""
        return ALLOW if request.endpoint_id in self.ids else DENY


class Denylist(_Listed):
    """Admits all but these ids."""

    async def on_connect(self, request: ClientRequest) -> Access:
        """No if the id is listed. Never waits."""
        return DENY if request.endpoint_id in self.ids else ALLOW


class SharedToken:
    """Admits who shows one of these tokens, as Bearer or as `?token=`."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self.tokens: tuple[bytes, ...] = tuple(token.encode() for token in tokens)

    async def on_connect(self, request: ClientRequest) -> Access:
        """Yes if the token is one of ours; comparing takes as long for a wrong one. Never waits."""
        if request.auth_token is None:
            return DENY
        shown = request.auth_token.encode("utf-8", "surrogateescape")
        matches = [hmac.compare_digest(shown, token) for token in self.tokens]
        return ALLOW if any(matches) else DENY

    def on_disconnect(self, endpoint_id: PublicKey, connection_id: int) -> None:
        """Nothing to remember."""


class Ask(Protocol):
    """The question to the web service; a test puts its own in place."""

    async def __call__(self, endpoint_id: PublicKey) -> bool:
        """Whether this id may use the relay. Raises whatever went wrong."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class HttpCallout:
    """Admits whom a web service lets in. Belongs to one event loop; `close` it in the end.

    Connections of one id that come at once are one question. A yes is remembered for
    `cache_seconds`; a no, a failure and a late answer are not, and deny.
    """

    def __init__(
        self,
        url: str,
        bearer_token: str | None = None,
        *,
        timeout: float = CALLOUT_TIMEOUT,
        cache_seconds: float = CALLOUT_CACHE,
        ask: Ask | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask: Ask = ask or _HttpQuestion(url, bearer_token)
        self._timeout = timeout
        self._cache_seconds = cache_seconds
        self._clock = clock
        self._allowed_until: dict[PublicKey, float] = {}
        self._asking: dict[PublicKey, asyncio.Task[bool]] = {}

    async def on_connect(self, request: ClientRequest) -> Access:
        """Ask the web service, unless its yes is still fresh. Cancelling harms no other."""
        key = request.endpoint_id
        if self._allowed_until.get(key, 0.0) > self._clock():
            return ALLOW
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(
                self._decide(key), name=f"iroh-relay-access-{key.fmt_short()}"
            )
        await asyncio.wait((task,))
        return DENY if task.cancelled() or not task.result() else ALLOW

    def on_disconnect(self, endpoint_id: PublicKey, connection_id: int) -> None:
        """Nothing to remember."""

    def forget(self) -> None:
        """Forget every remembered yes."""
        self._allowed_until.clear()

    async def close(self) -> None:
        """End running questions (they deny) and let go of connections.

        Cancelling it may leave connections open: call it again.
        """
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._ask.close()

    async def _decide(self, key: PublicKey) -> bool:
        try:
            async with asyncio.timeout(self._timeout):
                allowed = await self._ask(key)
        except TimeoutError:
            logger.warning("the access service did not answer within %g s", self._timeout)
            return False
        except Exception as error:  # noqa: BLE001 - whatever fails there must not admit anybody
            logger.warning("the access service cannot be asked: %s", error or type(error).__name__)
            return False
        finally:
            del self._asking[key]
        if allowed and self._cache_seconds > 0:
            self._remember(key)
        return allowed

    def _remember(self, key: PublicKey) -> None:
        self._allowed_until.pop(key, None)
        if len(self._allowed_until) >= MAX_REMEMBERED:
            del self._allowed_until[next(iter(self._allowed_until))]
        self._allowed_until[key] = self._clock() + self._cache_seconds


class _HttpQuestion:
    """The real question, over a session that is opened when first needed."""

    def __init__(self, url: str, bearer_token: str | None) -> None:
        self._url = url
        self._headers = {} if bearer_token is None else {"Authorization": f"Bearer {bearer_token}"}
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, endpoint_id: PublicKey) -> bool:
        if self._session is None:
            import aiohttp

            self._session = aiohttp.ClientSession()
        headers = self._headers | dict.fromkeys(_ID_HEADERS, str(endpoint_id))
        async with self._session.post(self._url, headers=headers) as response:
            if response.status != 200:
                return False
            try:
                await response.content.readexactly(_MAX_ANSWER)
            except asyncio.IncompleteReadError as whole:  # it is shorter, as it should be
                return whole.partial == b"true"
            return False

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
