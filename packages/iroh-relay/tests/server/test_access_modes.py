"""Everyone, lists, tokens, and the web service that decides."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from iroh_base.keys import PublicKey
from iroh_relay.protos.errors import AuthDeniedError
from iroh_relay.protos.versions import ProtocolVersion
from iroh_relay.server import (
    AccessControl,
    Allowlist,
    ClientRequest,
    Denylist,
    Everyone,
    HttpCallout,
    RelayServer,
    RelayServerConfig,
    SharedToken,
)
from iroh_relay.server.access_modes import MAX_REMEMBERED

from .conftest import LOOPBACK
from .peer import connect, secret

ONE, TWO = secret(1).public(), secret(2).public()


def request(who: PublicKey = ONE, token: str | None = None) -> ClientRequest:
    return ClientRequest(0, who, ProtocolVersion.V2, token, None, {})


async def is_admitted(
    access: AccessControl, who: PublicKey = ONE, token: str | None = None
) -> bool:
    return bool(await access.on_connect(request(who, token)))


async def test_lists() -> None:
    assert await is_admitted(Everyone())
    assert await is_admitted(Allowlist([ONE]))
    assert not await is_admitted(Allowlist([ONE]), TWO)
    assert not await is_admitted(Denylist([ONE]))
    assert await is_admitted(Denylist([ONE]), TWO)


@pytest.mark.parametrize(
    ("token", "admitted"),
    [("a", True), ("bb", True), ("b", False), ("", False), (None, False), ("\udcff", False)],
)
async def test_tokens(token: str | None, admitted: bool) -> None:
    assert await is_admitted(SharedToken(["a", "bb"]), token=token) is admitted


# -- the web service ----------------------------------------------------------------------------


class Asked:
    """Answers in place of the web service, and counts."""

    def __init__(self, answer: bool | Exception = True) -> None:
        self.answer = answer
        self.questions: list[PublicKey] = []
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.closed = False

    async def __call__(self, endpoint_id: PublicKey) -> bool:
        self.questions.append(endpoint_id)
        self.asked.set()
        await self.may_answer.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def close(self) -> None:
        self.closed = True


def callout(ask: Asked, now: Callable[[], float] = lambda: 0.0, timeout: float = 60) -> HttpCallout:
    return HttpCallout("http://unused.invalid", ask=ask, clock=now, timeout=timeout)


async def test_a_yes_is_remembered_for_a_while_and_a_no_is_not() -> None:
    now = [0.0]
    ask = Asked()
    access = callout(ask, lambda: now[0])
    assert await is_admitted(access)
    now[0] = 9.9
    assert await is_admitted(access)
    assert len(ask.questions) == 1
    now[0], ask.answer = 10.0, False
    assert not await is_admitted(access)
    assert not await is_admitted(access)
    assert len(ask.questions) == 3
    await access.close()
    assert ask.closed


async def test_forgetting_asks_again() -> None:
    ask = Asked()
    access = callout(ask)
    assert await is_admitted(access)
    access.forget()
    ask.answer = False
    assert not await is_admitted(access)


async def test_what_is_remembered_is_bounded() -> None:
    access = callout(Asked())
    for number in range(MAX_REMEMBERED + 10):
        access._remember(number)  # type: ignore[arg-type] # anything that is a key of a dict
    assert len(access._allowed_until) == MAX_REMEMBERED


@pytest.mark.parametrize("error", [OSError("refused"), ValueError("a bug")])
async def test_a_failure_denies(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    assert not await is_admitted(callout(Asked(error)))
    assert "cannot be asked" in caplog.text


async def test_a_late_answer_denies(caplog: pytest.LogCaptureFixture) -> None:
    ask = Asked()
    ask.may_answer.clear()
    assert not await is_admitted(callout(ask, timeout=0.0))
    assert "did not answer" in caplog.text


async def test_connections_of_one_id_at_once_are_one_question() -> None:
    ask = Asked()
    ask.may_answer.clear()
    access = callout(ask)
    asking = [asyncio.create_task(is_admitted(access)) for _ in range(5)]
    await ask.asked.wait()
    asking[0].cancel()  # a client that leaves does not take the answer from the others
    ask.may_answer.set()
    assert await asyncio.gather(*asking[1:]) == [True] * 4
    assert len(ask.questions) == 1


async def test_closing_denies_who_waits() -> None:
    ask = Asked()
    ask.may_answer.clear()
    access = callout(ask)
    asking = asyncio.create_task(is_admitted(access))
    await ask.asked.wait()
    await access.close()
    assert not await asking


Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def service(answer: Answer) -> AsyncIterator[str]:
    """Run a web service on loopback and give its URL."""
    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0]
        yield f"http://{host}:{port}/check?tenant=1"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "body", "admitted"),
    [
        (200, "true", True),
        (200, "true\n", False),
        (200, "TRUE", False),
        (200, "true" * 100, False),
        (200, "", False),
        (201, "true", False),
        (403, "true", False),
    ],
)
async def test_what_the_service_is_asked_and_may_answer(
    status: int, body: str, admitted: bool
) -> None:
    asked: list[web.BaseRequest] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        asked.append(request)
        return web.Response(status=status, text=body)

    async with service(answer) as url:
        access = HttpCallout(url, "secret")
        assert await is_admitted(access) is admitted
        await access.close()
    [question] = asked
    assert question.method == "POST"
    assert question.rel_url.query_string == "tenant=1"
    assert question.headers["X-Iroh-NodeId"] == str(ONE)
    assert question.headers["X-Iroh-Endpoint-Id"] == str(ONE)
    assert question.headers["Authorization"] == "Bearer secret"
    assert not question.can_read_body


async def test_nobody_answers() -> None:
    access = HttpCallout("http://127.0.0.1:1/")
    assert not await is_admitted(access)
    await access.close()


# -- in a relay ---------------------------------------------------------------------------------


async def test_who_is_taken_off_the_list_is_disconnected() -> None:
    config = RelayServerConfig(http_bind_addr=LOOPBACK)
    async with (
        RelayServer(config, access=Allowlist([ONE, TWO])) as relay,
        connect(relay, 1) as a,
        connect(relay, 2) as b,
    ):
        await a.settle()
        await b.settle()
        assert await relay.set_access(Allowlist([TWO])) == 1
        assert await a.ended()
        await b.settle()
        with pytest.raises(AuthDeniedError, match="not authorized"):
            async with connect(relay, 1):
                pass
