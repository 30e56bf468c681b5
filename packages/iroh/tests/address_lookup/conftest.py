from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from .kit import DnsServer, FakeClock, PkarrRelay, running_dns_server, running_pkarr_relay


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies of the machine must not come between a test and loopback."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "IROH_FORCE_STAGING_RELAYS"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest_asyncio.fixture
async def dns_server() -> AsyncIterator[DnsServer]:
    async with running_dns_server() as server:
        yield server


@pytest_asyncio.fixture
async def relay() -> AsyncIterator[PkarrRelay]:
    async with running_pkarr_relay() as running:
        yield running
