"""The handshake after the WebSocket upgrade as two state machines that take and give bytes.

Client                                          Relay
                                                header accepted: no challenge
    <- ServerChallenge                          otherwise
    ClientAuth ->
                                                signature wrong: ServerDeniesAuth, end
                                                then access control is asked
    <- ServerConfirmsAuth | ServerDeniesAuth

Which frame is legal in which state is a table per side; the machines only look things up in it.
Whoever drives a machine owns the connection and its time limit: there is none in the protocol.

Source: iroh-relay `protos/handshake.rs` (`clientside`, `serverside`, `authorize_with`).
"""

import os
from collections.abc import Callable
from enum import Enum, auto
from typing import Final, TypeVar

from iroh_base.keys import PublicKey, SecretKey

from .auth import (
    CHALLENGE_LEN,
    ClientAuth,
    ServerChallenge,
    ServerConfirmsAuth,
    ServerDeniesAuth,
)
from .errors import AuthDeniedError, FrameError, HandshakeError
from .frames.types import (
    CLIENT_AUTH,
    SERVER_CHALLENGE,
    SERVER_CONFIRMS_AUTH,
    SERVER_DENIES_AUTH,
    Buffer,
    frame_name,
    split_frame,
)
from .keying import Exporter, KeyMaterialClientAuth

__all__ = [
    "NOT_AUTHORIZED",
    "SIGNATURE_INVALID",
    "ClientHandshake",
    "HandshakeState",
    "Mechanism",
    "ServerHandshake",
]

_T = TypeVar("_T")

NOT_AUTHORIZED: Final = "not authorized"
"""The reason of a denial for which access control gave none."""
SIGNATURE_INVALID: Final = "signature invalid"
"""The reason of a denial because of a wrong signature."""


class HandshakeState(Enum):
    """Where a handshake is; both sides use the states that they need."""

    START = auto()
    """Client: nothing received yet. Relay: `start` not called yet."""
    CHALLENGED = auto()
    """Client: the challenge is answered. Relay: the challenge is sent."""
    AUTHENTICATED = auto()
    """Relay: it knows who the client is, and must now call `confirm` or `deny`."""
    DONE = auto()
    """Both: relay frames may follow."""
    FAILED = auto()
    """Both: the connection must be dropped."""


class Mechanism(Enum):
    """How the client has proved who it is."""

    SIGNED_CHALLENGE = "signed challenge"
    SIGNED_KEY_MATERIAL = "signed key material"


class ClientHandshake:
    """The client's side: feed `receive` with messages until `done`.

    The first message decides: a challenge is answered, a confirmation or denial ends it. Whether
    the relay has accepted the header that came with the request never matters here.
    """

    _LEGAL: Final = {
        HandshakeState.START: (SERVER_CHALLENGE, SERVER_CONFIRMS_AUTH, SERVER_DENIES_AUTH),
        HandshakeState.CHALLENGED: (SERVER_CONFIRMS_AUTH, SERVER_DENIES_AUTH),
    }

    def __init__(self, secret_key: SecretKey) -> None:
        self._secret_key = secret_key
        self.state: HandshakeState = HandshakeState.START

    @property
    def done(self) -> bool:
        """Whether the relay has confirmed."""
        return self.state is HandshakeState.DONE

    def receive(self, frame: Buffer) -> bytes | None:
        """Take one binary message; returns the message to send back, if any.

        Raises `AuthDeniedError` if the relay said no, `HandshakeError` for anything illegal or
        unreadable; the machine is dead after both.
        """
        state, self.state = self.state, HandshakeState.FAILED
        frame_type, payload = _expect(frame, self._LEGAL.get(state, ()))
        if frame_type == SERVER_DENIES_AUTH:
            raise AuthDeniedError(_read(ServerDeniesAuth.decode, payload).reason)
        if frame_type == SERVER_CONFIRMS_AUTH:
            self.state = HandshakeState.DONE
            return None
        challenge = _read(ServerChallenge.decode, payload)
        self.state = HandshakeState.CHALLENGED
        return ClientAuth.answer(self._secret_key, challenge).encode()


class ServerHandshake:
    """The relay's side: `start`, `receive` until `endpoint_id` is set, then `confirm` or `deny`.

    `rng(n)` gives n bytes that nobody can guess.
    """

    _LEGAL: Final = {HandshakeState.CHALLENGED: (CLIENT_AUTH,)}

    def __init__(self, rng: Callable[[int], bytes] = os.urandom) -> None:
        self._challenge = ServerChallenge(rng(CHALLENGE_LEN))
        self.state: HandshakeState = HandshakeState.START
        self.endpoint_id: PublicKey | None = None
        """Who the client is, once that is proved."""
        self.mechanism: Mechanism | None = None
        """How it was proved."""

    def start(self, header: str | None = None, exporter: Exporter | None = None) -> bytes | None:
        """Begin; returns the challenge to send, or None if the header has proved everything.

        Without an exporter the header is ignored, as by a relay behind a TLS proxy. Raises
        `ClientAuthHeaderError` if there is an exporter and the header cannot be read.
        """
        self._enter(HandshakeState.START)
        if header is not None and exporter is not None:
            auth = KeyMaterialClientAuth.from_header(header)
            if auth.verify(exporter):
                self._authenticated(auth.public_key, Mechanism.SIGNED_KEY_MATERIAL)
                return None
        self.state = HandshakeState.CHALLENGED
        return self._challenge.encode()

    def receive(self, frame: Buffer) -> bytes | None:
        """Take one binary message of the client.

        Returns None if the client has proved its id, or the denial to send before the connection
        is dropped (`state` is FAILED then). Raises `HandshakeError` for anything else.
        """
        state, self.state = self.state, HandshakeState.FAILED
        _, payload = _expect(frame, self._LEGAL.get(state, ()))
        auth = _read(ClientAuth.decode, payload)
        if not auth.verify(self._challenge):
            return ServerDeniesAuth(SIGNATURE_INVALID).encode()
        self._authenticated(auth.public_key, Mechanism.SIGNED_CHALLENGE)
        return None

    def confirm(self) -> bytes:
        """Admit the client; returns the message that tells it."""
        self._enter(HandshakeState.AUTHENTICATED)
        self.state = HandshakeState.DONE
        return ServerConfirmsAuth().encode()

    def deny(self, reason: str | None = None) -> bytes:
        """Refuse the client; returns the message that tells it, to be sent before dropping it."""
        self._enter(HandshakeState.AUTHENTICATED)
        return ServerDeniesAuth(NOT_AUTHORIZED if reason is None else reason).encode()

    def _authenticated(self, endpoint_id: PublicKey, mechanism: Mechanism) -> None:
        self.endpoint_id, self.mechanism = endpoint_id, mechanism
        self.state = HandshakeState.AUTHENTICATED

    def _enter(self, required: HandshakeState) -> None:
        """Check the order of calls; failing is the default outcome of every step."""
        state, self.state = self.state, HandshakeState.FAILED
        if state is not required:
            raise HandshakeError(f"the handshake is {state.name}, not {required.name}")


def _expect(frame: Buffer, legal: tuple[int, ...]) -> tuple[int, memoryview]:
    """Split a frame whose type must be one of `legal`."""
    frame_type, payload = _read(split_frame, frame)
    if frame_type not in legal:
        wanted = " or ".join(frame_name(one) for one in legal) or "nothing more"
        raise HandshakeError(f"unexpected {frame_name(frame_type)}, expected {wanted}")
    return frame_type, payload


def _read(decode: Callable[[Buffer], _T], data: Buffer) -> _T:
    """Run a decoder; what it refuses is a failed handshake."""
    try:
        return decode(data)
    except FrameError as error:
        raise HandshakeError(f"handshake: {error}") from error
