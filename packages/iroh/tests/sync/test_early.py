"""0-RTT without async: taken, and rejected by a server that was started anew."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from iroh import SecretKey, presets
from iroh.errors import HandshakePendingError
from iroh.sync import Connection, Endpoint, Portal, ZeroRttStatus
from iroh.sync.zero_rtt import IncomingZeroRttConnection, OutgoingZeroRttConnection

ALPN = b"early/0"
KEY = SecretKey(bytes([9]) * 32)
HERE = {"bind_addr": "127.0.0.1:0"}


def listen(portal: Portal) -> Endpoint:
    return Endpoint.bind(presets.Minimal, portal=portal, alpns=[ALPN], secret_key=KEY, **HERE)


def talk(one: Connection, other: Connection, text: bytes) -> None:
    with one.open_uni() as send:
        send.write_all(text)
    assert other.accept_uni(timeout=10).read_to_end(100, timeout=10) == text


@contextmanager
def early(
    client: Endpoint, server: Endpoint
) -> Iterator[tuple[OutgoingZeroRttConnection, IncomingZeroRttConnection]]:
    """Dial with the ticket that there is. The server does not answer before it is used."""
    connecting = client.connect_pending(server.addr(), ALPN)
    here = connecting.into_0rtt()
    assert here is not None
    with here, here.open_uni() as send:
        send.write_all(b"early")
        send.finish()
        incoming = server.accept_next(timeout=10)
        assert incoming is not None
        with incoming.accept().into_0rtt(timeout=10) as there:
            assert there.accept_uni(timeout=10).read_to_end(100, timeout=10) == b"early"
            yield here, there


def test_early_data() -> None:
    with ExitStack() as stack:
        portal = stack.enter_context(Portal())
        client = stack.enter_context(Endpoint.bind(presets.Minimal, portal=portal, **HERE))
        server = stack.enter_context(listen(portal))
        connecting = client.connect_pending(server.addr(), ALPN)
        assert connecting.into_0rtt() is None, "no ticket yet"
        incoming = server.accept_next(timeout=10)
        assert incoming is not None
        listener = incoming.accept().into_0rtt()
        with connecting.establish(timeout=10) as here, listener as there:
            assert listener.handshake_completed(timeout=10) is there
            talk(here, there, b"first")
            talk(there, here, b"the ticket came before this")

        with early(client, server) as (dialled, accepted):
            status = dialled.handshake_completed(timeout=10)
            assert isinstance(status, ZeroRttStatus.ACCEPTED)
            assert status.is_accepted()
            assert status.connection is dialled
            assert accepted.handshake_completed(timeout=10) is accepted
            assert accepted.remote_id() == client.id()
            talk(accepted, status.connection, b"later")

        server.close()
        anew = stack.enter_context(listen(portal))
        with early(client, anew) as (dialled, _):
            status = dialled.handshake_completed(timeout=10)
            assert status.is_rejected(), "it came all the same: it was sent again"


def test_who_dials_is_not_known_at_first() -> None:
    with (
        Portal() as portal,
        listen(portal) as server,
        Endpoint.bind(presets.Minimal, portal=portal, **HERE) as client,
    ):
        connecting = client.connect_pending(server.addr(), ALPN)
        incoming = server.accept_next(timeout=10)
        assert incoming is not None
        with incoming.accept().into_0rtt(timeout=10) as listener:
            with pytest.raises(HandshakePendingError):
                listener.remote_id()
            assert listener.handshake_completed(timeout=10).remote_id() == client.id()
        connecting.abandon()
