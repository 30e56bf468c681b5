"""Connections to servers that have a name and a certificate, against the relay's own QAD server.

The server is aioquic's engine with the relay's additions, fed by hand in virtual time.
"""

import random
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from aioquic.quic.configuration import QuicConfiguration
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from iroh.quic import events as ev
from iroh.quic import path_events as pe
from iroh.quic.api import WebServer
from iroh.quic.config import TransportConfig
from iroh.quic.datagrams import Datagrams
from iroh.quic.endpoint import Endpoint
from iroh.quic.errors import PROTOCOL_VIOLATION
from iroh.quic.make import make_connection
from iroh.quic.tls.web_trust import CertificateError, WebTrust, server_name
from iroh_base import SecretKey, SocketAddr
from iroh_relay.qad import ALPN
from iroh_relay.qad.connection import QadConnection
from iroh_relay.qad.observed import encode_address
from iroh_relay.server import SelfSigned

TRANSPORT = TransportConfig(max_idle_timeout=35.0, keep_alive_interval=25.0, initial_rtt=0.111)
US, RELAY = SocketAddr("192.0.2.1", 1000), SocketAddr("198.51.100.1", 7842)


@cache
def certificate() -> SelfSigned:
    return SelfSigned(["relay.example", "198.51.100.1"])


def trust() -> WebTrust:
    return WebTrust(certificate().chain_pem)


class Relay(QadConnection):
    """The relay's end, which can be made to lie."""

    role_is_sent = True
    more_params = b""

    def __init__(self, dcid: bytes, alpn: bytes = ALPN) -> None:
        configuration = QuicConfiguration(
            is_client=False,
            alpn_protocols=[alpn.decode()],
            certificate=x509.load_pem_x509_certificate(certificate().chain_pem),
            private_key=load_pem_private_key(certificate().key_pem, None),
        )
        self.lies: list[tuple[str, int]] = []
        super().__init__(configuration, dcid, None)

    def _serialize_transport_parameters(self) -> bytes:
        if self.role_is_sent:
            return super()._serialize_transport_parameters() + self.more_params
        return super(QadConnection, self)._serialize_transport_parameters()

    def _write_application(self, builder: Any, network_path: Any, now: float) -> None:
        super()._write_application(builder, network_path, now)
        for addr in self.lies:
            kind, rest = encode_address(self._next_seq, addr)
            builder.start_frame(kind, len(rest)).push_bytes(rest)
            self._next_seq += 1
        self.lies.clear()


class Pair:
    """Our client and the relay, in virtual time."""

    def __init__(
        self,
        name: str = "relay.example",
        trusted: WebTrust | None = None,
        make_relay: Callable[[bytes], Relay] = Relay,
    ) -> None:
        rng = random.Random(1).randbytes
        self.now = 100.0
        self.endpoint = Endpoint(make_connection, SecretKey.from_bytes(bytes([1]) * 32), rng=rng)
        server = WebServer(name, trusted or trust())
        self.client = self.endpoint.connect_web(RELAY, server, [ALPN], self.now, TRANSPORT)
        self.events: list[ev.Event] = []
        self.us = US
        self.relay: Relay | None = None
        self._make_relay = make_relay
        self.first = b""
        self.run()

    def run(self, steps: int = 50) -> None:
        """Exchange until nobody has anything to say, with 10 ms a way."""
        for _ in range(steps):
            self.now += 0.01
            sent = False
            for batch in self.client.transmit(self.now):
                for data in batch:
                    sent = True
                    self._to_relay(data)
            self.now += 0.01
            down = [] if self.relay is None else self.relay.datagrams_to_send(now=self.now)
            for data, addr in down:
                sent = True
                if addr == tuple(self.us):
                    self.endpoint.receive([Datagrams(RELAY, data, len(data))], self.now)
            self.events += self.client.events()
            due = self.client.next_timeout()
            if due is not None and due <= self.now:
                self.client.handle_timeout(self.now)
            if not sent:
                return

    def _to_relay(self, data: bytes) -> None:
        if self.relay is None:
            self.first = data
            self.relay = self._make_relay(data[6 : 6 + data[5]])
        self.relay.receive_datagram(data, tuple(self.us), now=self.now)

    def told(self) -> list[SocketAddr]:
        return [e.addr for e in self.events if isinstance(e, pe.ObservedAddressChanged)]

    def reason(self) -> Any:
        return self.client.close_reason


def test_we_learn_our_address_from_a_named_server() -> None:
    pair = Pair()
    assert pair.client.alpn == ALPN
    assert pair.client.peer == b""
    assert pair.told() == [US]
    assert ev.Connected(ALPN, b"") in pair.events
    rtt = pair.client.paths()[0].stats.rtt
    assert 0.01 < rtt < 0.1


def test_an_ip_address_is_a_name_too_and_is_not_sent() -> None:
    pair = Pair("198.51.100.1")
    assert pair.told() == [US]
    assert pair.relay is not None


def test_we_are_told_when_our_address_changes() -> None:
    pair = Pair()
    pair.us = SocketAddr("192.0.2.1", 2000)
    pair.client.ping()
    pair.run()
    assert pair.told() == [US, pair.us]


def test_we_leave_politely() -> None:
    pair = Pair()
    pair.client.close(1, b"finished", pair.now)
    pair.run()
    assert pair.relay is not None
    assert pair.relay._close_event is not None
    assert pair.relay._close_event.error_code == 1
    assert pair.relay._close_event.reason_phrase == "finished"


# -- certificates ------------------------------------------------------------------------------


def test_another_name_is_refused() -> None:
    pair = Pair("other.example")
    assert "the certificate for other.example is not trusted: it is for relay.example" in str(
        pair.reason()
    )
    assert pair.told() == []


def test_an_unknown_issuer_is_refused() -> None:
    pair = Pair(trusted=WebTrust(SelfSigned(["relay.example"]).chain_pem))
    assert "is not trusted" in str(pair.reason())


def test_an_expired_certificate_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iroh_relay.server.certs._SELF_SIGNED_DAYS", -1)
    monkeypatch.setattr("iroh_relay.server.certs._CLOCK_SKEW", timedelta(days=2))
    pem = SelfSigned(["relay.example"]).chain_pem
    with pytest.raises(CertificateError, match="expired"):
        WebTrust(pem).check(x509.load_pem_x509_certificate(pem), [], "relay.example")


def test_a_chain_of_an_own_authority_is_believed() -> None:
    trustme = pytest.importorskip("trustme")
    ca = trustme.CA()
    issued = ca.issue_cert("relay.example", "192.0.2.9")
    leaf = x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes())
    own = WebTrust(ca.cert_pem.bytes())
    own.check(leaf, [], "relay.example")
    own.check(leaf, [], "192.0.2.9")
    with pytest.raises(CertificateError):
        own.check(leaf, [], "192.0.2.10")


def test_nothing_is_checked_when_asked_not_to() -> None:
    pair = Pair("other.example", WebTrust(verify=False))
    assert pair.told() == [US]


def test_roots_that_are_none() -> None:
    with pytest.raises(ValueError, match=r"."):
        WebTrust(b"nonsense").load()


@pytest.mark.parametrize(
    ("host", "name"),
    [("relay.example.", "relay.example"), ("[::1]", "::1"), ("192.0.2.1", "192.0.2.1")],
)
def test_names_of_hosts(host: str, name: str) -> None:
    assert server_name(host) == name


# -- servers that misbehave --------------------------------------------------------------------


def test_a_report_that_was_not_offered_is_an_error() -> None:
    class Silent(Relay):
        role_is_sent = False

    pair = Pair(make_relay=Silent)  # whose reports come all the same
    assert pair.reason().code == PROTOCOL_VIOLATION


def test_a_server_that_offers_multipath_does_not_get_it() -> None:
    class Generous(Relay):
        more_params = bytes.fromhex("3e0107") + bytes.fromhex("c0003d7f912004010120")

    pair = Pair(make_relay=Generous)
    assert pair.told() == [US]
    assert pair.client._p.mp.nat is None  # type: ignore[attr-defined]
    assert pair.reason() is None


def test_a_burst_of_reports_ends_with_the_last() -> None:
    pair = Pair()
    assert pair.relay is not None
    pair.relay.lies = [(f"203.0.113.{i % 250}", i + 1) for i in range(60)]
    pair.relay.send_ping(1)
    pair.run()
    assert pair.told()[-1] == SocketAddr("203.0.113.59", 60)
    assert pair.reason() is None


def test_another_protocol_is_refused() -> None:
    pair = Pair(make_relay=lambda dcid: Relay(dcid, b"other"))
    assert pair.reason() is not None
    assert pair.told() == []


def test_a_certificate_of_a_version_that_does_not_exist() -> None:
    class Broken(Relay):
        def __init__(self, dcid: bytes) -> None:
            super().__init__(dcid)
            self._configuration.certificate = BrokenCertificate()

    pair = Pair(make_relay=Broken)
    assert "could not be parsed" in str(pair.reason())


class BrokenCertificate:
    """What cryptography refuses with an exception of its own kind."""

    def public_bytes(self, _encoding: object) -> bytes:
        der = x509.load_pem_x509_certificate(certificate().chain_pem).public_bytes(Encoding.DER)
        return der.replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020140"))

    def public_key(self) -> Any:
        return x509.load_pem_x509_certificate(certificate().chain_pem).public_key()


def test_a_tls_message_that_is_cut_short_is_an_error() -> None:
    from iroh.quic.errors import PeerError
    from iroh.quic.frames import HANDSHAKE, INITIAL
    from iroh.quic.tls.web import WebHandshake

    for epoch, data in (
        (INITIAL, b"\x02\x00\x00\x04\x03\x03\x00\x00"),
        (INITIAL, b"\x14\x00\x00\x20" + bytes(32)),
        (HANDSHAKE, b"\x02\x00\x00\x20" + bytes(32)),
        (INITIAL, b"\x02\xff\xff\xff"),
    ):
        tls = WebHandshake("relay.example", [ALPN], b"", trust())
        tls.start()
        assert tls.take(INITIAL)
        with pytest.raises(PeerError):
            tls.receive(epoch, data)
        with pytest.raises(PeerError):  # it stays broken
            tls.receive(epoch, b"x")
