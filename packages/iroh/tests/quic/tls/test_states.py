"""Every TLS message, in every packet type, in every state of both ends: one of them is wanted."""

import pytest
from tls_kit import EPOCHS, make_client, make_server

from iroh.quic.errors import PeerError
from iroh.quic.frames.base import HANDSHAKE, INITIAL, ONE_RTT
from iroh.quic.tls import client as cl
from iroh.quic.tls import messages as ms
from iroh.quic.tls import server as sv

UNEXPECTED = 0x10A
KINDS = sorted(ms.NAMES)
STATES = {
    "client": {
        "HELLO": (INITIAL, {ms.SERVER_HELLO}),
        "EXTENSIONS": (HANDSHAKE, {ms.ENCRYPTED_EXTENSIONS}),
        "REQUEST": (HANDSHAKE, {ms.CERTIFICATE_REQUEST, ms.CERTIFICATE}),
        "CERTIFICATE": (HANDSHAKE, {ms.CERTIFICATE}),
        "VERIFY": (HANDSHAKE, {ms.CERTIFICATE_VERIFY}),
        "FINISHED": (HANDSHAKE, {ms.FINISHED}),
        "AFTER": (ONE_RTT, {ms.NEW_SESSION_TICKET}),
    },
    "server": {
        "HELLO": (INITIAL, {ms.CLIENT_HELLO}),
        "CERTIFICATE": (HANDSHAKE, {ms.CERTIFICATE}),
        "VERIFY": (HANDSHAKE, {ms.CERTIFICATE_VERIFY}),
        "FINISHED": (HANDSHAKE, {ms.FINISHED}),
        "AFTER": (ONE_RTT, set()),
    },
}
CASES = [(end, name) for end, states in STATES.items() for name in states]


def in_state(end, name):
    """An end that is made to wait in a state."""
    if end == "client":
        handshake = make_client()
        handshake.start()
    else:
        handshake = make_server()
    module = cl if end == "client" else sv
    handshake._context.state = getattr(module, f"_{name}")
    return handshake


@pytest.mark.parametrize(("end", "name"), CASES)
def test_the_table(end, name):
    epoch, wanted = STATES[end][name]
    state_epoch, methods = in_state(end, name)._context.state
    assert (state_epoch, set(methods)) == (epoch, wanted)


@pytest.mark.parametrize(("end", "name"), CASES)
@pytest.mark.parametrize("kind", [*KINDS, 0, 3, 99, 255])
@pytest.mark.parametrize("epoch", EPOCHS)
def test_what_is_not_wanted_is_unexpected(end, name, kind, epoch):
    wanted_epoch, wanted = STATES[end][name]
    if epoch == wanted_epoch and kind in wanted:
        return
    handshake = in_state(end, name)
    with pytest.raises(PeerError) as caught:
        handshake.receive(epoch, bytes((kind, 0, 0, 0)))
    assert caught.value.code == UNEXPECTED
    with pytest.raises(PeerError) as again:
        handshake.receive(epoch, b"\0\0\0\0")
    assert again.value is caught.value
