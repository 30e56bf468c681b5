"""Endpoints, relays and address discovery through real sockets; relays that lie, too."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from iroh import CaTlsConfig, Endpoint, NetReportConfig, RelayConfig, RelayMap, RelayMode, Report
from iroh.magicsock.direct_addrs import DirectAddrSource
from iroh.net_report import Probe
from iroh.net_report.qad import MAX_CHANGES, is_plausible
from iroh.protocols import ECHO_ALPN, Echo
from iroh_base import InvalidInputError, SocketAddr
from iroh_relay.qad.connection import QadConnection as RelayEnd
from iroh_relay.qad.observed import encode_address
from iroh_relay.qad.server import QadServer
from iroh_relay.server import RelayServer, RelayServerConfig, SelfSigned

PATIENCE = 15.0
LOOPBACK = SocketAddr("127.0.0.1", 0)
V4, V6 = Probe.QAD_IPV4, Probe.QAD_IPV6


@pytest.fixture(scope="module")
def certificates() -> SelfSigned:
    return SelfSigned()


@asynccontextmanager
async def relay(certificates: SelfSigned, *, tls: bool = True) -> AsyncIterator[RelayServer]:
    """A relay with address discovery, on every address of this machine."""
    any_addr = SocketAddr("::", 0)
    config = RelayServerConfig(
        http_bind_addr=any_addr, https_bind_addr=any_addr, quic_bind_addr=any_addr
    )
    shown = {"certificates": certificates} if tls else {"quic_certificates": certificates}
    async with RelayServer(config, **shown) as server:
        yield server


def relay_config(server: RelayServer, host: str = "127.0.0.1") -> RelayConfig:
    scheme, addr = ("http", server.http_addr)
    if server.https_addr is not None:
        scheme, addr = "https", server.https_addr
    assert server.quic_addr is not None
    return RelayConfig(url=f"{scheme}://{host}:{addr.port}", quic_port=server.quic_addr.port)


def options(certificates: SelfSigned, *relays: RelayConfig, **more: Any) -> dict[str, Any]:
    return {
        "relay_mode": RelayMode.custom(RelayMap(relays)),
        "ca_tls_config": CaTlsConfig.custom_roots(certificates.chain_pem),
        "bind_addr": "127.0.0.1:0",
        **more,
    }


async def report_of(endpoint: Endpoint) -> Report:
    async with asyncio.timeout(PATIENCE):
        report = await endpoint.watch_net_report().initialized()
    assert report is not None
    return report


Bind = Callable[..., Awaitable[Endpoint]]


async def test_an_endpoint_learns_its_address(bind: Bind, certificates: SelfSigned) -> None:
    async with relay(certificates) as server:
        endpoint = await bind(**options(certificates, relay_config(server)))
        report = await report_of(endpoint)
        [bound] = [addr for addr in endpoint.bound_sockets() if addr.startswith("127")]
        assert str(report.global_v4) == bound
        assert report.udp_v4
        assert report.relay_latency.keys() == {report.preferred_relay}
        assert endpoint.net_report() == report
        sources = endpoint._sock.direct.sources()
        assert sources[SocketAddr.parse(bound)] is DirectAddrSource.QAD
        assert endpoint.stats()["net_report:reports_full"].value == 1
        assert server.metrics.qad_connections == 1
        await endpoint.online()  # over TLS, believed for the same reason
        await endpoint.close()
        async with asyncio.timeout(PATIENCE):
            while not server.metrics.qad_connections_closed:  # noqa: ASYNC110 - a counter
                await asyncio.sleep(0.005)
        assert server.metrics.qad_connections_errored == 0


async def test_over_ipv6_too(bind: Bind, certificates: SelfSigned) -> None:
    async with relay(certificates) as server:
        settings = options(certificates, relay_config(server, "[::1]"), bind_addr="[::1]:0")
        endpoint = await bind(**settings)
        endpoint._core.reports._reporter._probes.families = lambda: (True, True)  # type: ignore[union-attr]
        endpoint._core.reports.request(True)
        async with asyncio.timeout(PATIENCE):
            async for report in endpoint.watch_net_report():
                if report is not None and report.udp_v6:
                    break
        assert report is not None
        assert str(report.global_v6) in endpoint.bound_sockets()


async def test_two_relays_tell_the_kind_of_nat(bind: Bind, certificates: SelfSigned) -> None:
    async with relay(certificates) as one, relay(certificates, tls=False) as two:
        endpoint = await bind(**options(certificates, relay_config(one), relay_config(two)))
        report = await report_of(endpoint)
        assert report.mapping_varies_by_dest_ipv4 is False
        assert len(report.relay_latency) == 2
        assert "looks the same from everywhere" in str(report)


async def test_data_flows_between_endpoints_that_report(
    bind: Bind, certificates: SelfSigned
) -> None:
    async with relay(certificates) as server:
        settings = options(certificates, relay_config(server))
        there = await bind(**settings, protocols={ECHO_ALPN: Echo()})
        here = await bind(**settings)
        await asyncio.gather(report_of(here), report_of(there))
        connection = await here.connect(there.addr(), ECHO_ALPN)
        send, recv = await connection.open_bi()
        await send.write_all(b"x" * 100_000)
        await send.finish()
        assert len(await recv.read_to_end(200_000)) == 100_000


async def test_a_relay_whose_certificate_nobody_knows(bind: Bind, certificates: SelfSigned) -> None:
    async with relay(certificates) as server:
        settings = options(certificates, relay_config(server))
        del settings["ca_tls_config"]
        endpoint = await bind(**settings, net_report=NetReportConfig.minimal())
        report = await report_of(endpoint)
        assert not report.has_udp()
        assert server.metrics.qad_connections == 0
        trusting = await bind(**settings | {"ca_tls_config": CaTlsConfig.insecure_skip_verify()})
        assert (await report_of(trusting)).has_udp()
        await asyncio.gather(endpoint.close(), trusting.close())


async def test_an_address_discovery_that_is_not_there_delays_nobody(
    bind: Bind, certificates: SelfSigned
) -> None:
    async with relay(certificates, tls=False) as server:
        config = RelayConfig(url=relay_config(server).url, quic_port=1)
        endpoint = await bind(**options(certificates, config))
        await endpoint.online()
        assert endpoint.net_report() is None
        report = await report_of(endpoint)
        assert not report.has_udp()
        assert report.captive_portal is None


async def test_without_relays_there_is_no_report(bind: Bind) -> None:
    endpoint = await bind()
    assert endpoint.net_report() is None
    await endpoint.close()
    async for report in endpoint.watch_net_report():
        assert report is None


async def test_closing_in_the_middle_of_a_report(bind: Bind, certificates: SelfSigned) -> None:
    async with relay(certificates) as server:
        for turns in range(0, 40, 4):
            endpoint = await bind(**options(certificates, relay_config(server)))
            for _ in range(turns):
                await asyncio.sleep(0)
            await endpoint.close()


# -- relays that lie ---------------------------------------------------------------------------


class Liar(RelayEnd):
    """Says what it is told to say, after the truth or in its place."""

    lies: tuple[tuple[str, int], ...] = ()
    truth = True

    def _write_application(self, builder: Any, network_path: Any, now: float) -> None:
        if not self.truth:
            self._reported = network_path.addr[:2]
        super()._write_application(builder, network_path, now)
        if not self._handshake_confirmed:
            return
        lies, self.lies = self.lies, ()
        for addr in lies:
            kind, rest = encode_address(self._next_seq + 1, addr)
            builder.start_frame(kind, len(rest)).push_bytes(rest)
            self._next_seq += 1


@asynccontextmanager
async def lying(
    certificates: SelfSigned,
    monkeypatch: pytest.MonkeyPatch,
    lies: tuple[tuple[str, int], ...],
    truth: bool = True,
) -> AsyncIterator[RelayConfig]:
    monkeypatch.setattr(Liar, "lies", lies)
    monkeypatch.setattr(Liar, "truth", truth)
    monkeypatch.setattr("iroh_relay.qad.server.QadConnection", Liar)
    async with QadServer(LOOPBACK, certificates) as server:
        yield RelayConfig(url="https://127.0.0.1:1", quic_port=server.addr.port)


async def test_a_relay_that_changes_its_mind(
    bind: Bind, certificates: SelfSigned, monkeypatch: pytest.MonkeyPatch
) -> None:
    lies = (("127.0.0.9", 9),)
    async with lying(certificates, monkeypatch, lies) as config:
        endpoint = await bind(**options(certificates, config, net_report=NetReportConfig.minimal()))
        async with asyncio.timeout(PATIENCE):
            async for report in endpoint.watch_net_report():
                if report is not None and report.global_v4 == SocketAddr("127.0.0.9", 9):
                    break


async def test_a_burst_of_addresses_ends_its_connection(
    bind: Bind, certificates: SelfSigned, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    lies = tuple((f"127.0.1.{n}", n + 1) for n in range(60))
    assert len(lies) > MAX_CHANGES
    async with lying(certificates, monkeypatch, lies) as config:
        endpoint = await bind(**options(certificates, config, net_report=NetReportConfig.minimal()))
        seen = 0
        async with asyncio.timeout(PATIENCE):
            while "keeps changing its mind" not in caplog.text:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        async for report in endpoint.watch_net_report():
            seen += 1
            if report is not None:
                break
        assert seen <= 2


async def test_addresses_that_cannot_be_are_not_believed(
    bind: Bind, certificates: SelfSigned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iroh.net_report.run.PROBE_TIMEOUT", 0.2)
    lies = (("0.0.0.0", 5), ("127.0.0.1", 0), ("224.0.0.1", 5), ("::1", 5))
    async with lying(certificates, monkeypatch, lies, truth=False) as config:
        endpoint = await bind(**options(certificates, config, net_report=NetReportConfig.minimal()))
        report = await report_of(endpoint)
        assert not report.has_udp()
        assert report.global_v4 is None


@pytest.mark.parametrize(
    ("addr", "at", "believed"),
    [
        ("8.8.4.4:5", "1.1.1.1:7842", True),
        ("192.168.1.1:5", "1.1.1.1:7842", False),
        ("10.0.0.1:5", "1.1.1.1:7842", False),
        ("100.64.1.1:5", "1.1.1.1:7842", False),
        ("127.0.0.1:5", "1.1.1.1:7842", False),
        ("192.168.1.1:5", "192.168.1.2:7842", True),
        ("8.8.4.4:5", "192.168.1.2:7842", True),
        ("127.0.0.1:5", "192.168.1.2:7842", False),
        ("127.0.0.1:5", "127.0.0.1:7842", True),
        ("8.8.4.4:0", "1.1.1.1:7842", False),
        ("0.0.0.0:5", "127.0.0.1:7842", False),
        ("224.0.0.1:5", "127.0.0.1:7842", False),
        ("240.0.0.1:5", "127.0.0.1:7842", False),
        ("[2606:4700::1]:5", "1.1.1.1:7842", False),
        ("[2606:4700::1]:5", "[2606:4700::2]:7842", True),
        ("[fd00::1]:5", "[2606:4700::2]:7842", False),
        ("[fe80::1]:5", "[2606:4700::2]:7842", False),
    ],
)
def test_what_is_plausible(addr: str, at: str, believed: bool) -> None:
    assert is_plausible(SocketAddr.parse(addr), SocketAddr.parse(at)) is believed


# -- whom we believe ---------------------------------------------------------------------------


def test_roots_that_are_no_certificates() -> None:
    for nonsense in (b"", b"nonsense", b"\xff"):
        with pytest.raises(InvalidInputError, match="no PEM certificates"):
            CaTlsConfig.custom_roots(nonsense)


async def test_what_the_kinds_of_trust_mean(certificates: SelfSigned) -> None:
    pem = certificates.chain_pem
    assert CaTlsConfig.system().ssl_context() is None
    assert (await CaTlsConfig.system().web_trust()).verify
    own = CaTlsConfig.custom_roots(pem)
    assert own.ssl_context() is own.ssl_context()
    assert await own.web_trust() is await own.web_trust()
    extra = CaTlsConfig.system().with_extra_roots(pem)
    context = extra.ssl_context()
    assert context is not None
    assert context.check_hostname
    insecure = CaTlsConfig.insecure_skip_verify()
    context = insecure.ssl_context()
    assert context is not None
    assert not context.check_hostname
    assert not (await insecure.web_trust()).verify
    assert [repr(kind) for kind in (own, extra, insecure)] == [
        "<CaTlsConfig custom>",
        "<CaTlsConfig system and more>",
        "<CaTlsConfig insecure>",
    ]
