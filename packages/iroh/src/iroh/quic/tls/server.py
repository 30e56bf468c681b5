"""The server's side of a handshake, with tickets, resumption and 0-RTT.

    state          message -> next state
    HELLO          ClientHello -> CERTIFICATE, FINISHED when resumed; our whole flight leaves
                   ClientHello without our share -> HELLO, once; HelloRetryRequest leaves
    CERTIFICATE    Certificate -> VERIFY
    VERIFY         CertificateVerify -> FINISHED
    FINISHED       Finished -> AFTER; NewSessionTicket leaves, twice

    ClientHello [early_data, psk] -->
                                     known ticket, good binder       no certificates
                                     and early data that is fresh    0-RTT keys
                                 <-- ServerHello [psk], EncryptedExtensions [early_data], Finished

A client that offers one of our groups, but no key share of it, is asked for another ClientHello
(RFC 8446 section 4.1.4); both and the request stand in the transcript as the client has it.

Early data is taken only when everything speaks for it; else the handshake is a full one, which the
client takes for a rejection.
"""

import hashlib
import hmac
import os
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

from iroh.quic.api import Rng
from iroh.quic.errors import PROTOCOL_VIOLATION, PeerError
from iroh.quic.frames.base import HANDSHAKE, INITIAL, ONE_RTT, ZERO_RTT
from iroh.quic.tls import alerts as al
from iroh.quic.tls import groups as gr
from iroh.quic.tls import messages as ms
from iroh.quic.tls.alerts import Alert
from iroh.quic.tls.context import NO_ALPN, NO_KEY, WRONG_KIND, Context, Settings, State
from iroh.quic.tls.crypto_stream import CRYPTO
from iroh.quic.tls.early_data import limits_shrank
from iroh.quic.tls.schedule import DIGESTS, SUITES, Schedule
from iroh.quic.tls.tickets import Ticket, TicketStore

TICKETS = 2
"""Tickets per connection (rustls send_tls13_tickets)."""
TICKET_LIFETIME = 86_400
"""Seconds (rustls: 24 hours for a ticket with state)."""
MAX_AGE_ERROR = 60.0
"""Seconds by which a client may be wrong about a ticket's age (rustls MAX_FRESHNESS_SKEW_MS)."""
EARLY_DATA_SIZE = 0xFFFFFFFF  # RFC 9001 section 4.6.1
_IDENTITY_LENGTH = 32  # rustls: ids of stateful tickets

_HELLO: State = (INITIAL, {ms.CLIENT_HELLO: "on_hello"})
_CERTIFICATE: State = (HANDSHAKE, {ms.CERTIFICATE: "on_certificate"})
_VERIFY: State = (HANDSHAKE, {ms.CERTIFICATE_VERIFY: "on_verify"})
_FINISHED: State = (HANDSHAKE, {ms.FINISHED: "on_finished"})
_AFTER: State = (ONE_RTT, {})


@lru_cache(maxsize=16)
def _ask_and_show(schemes: tuple[int, ...], entries: tuple[bytes, ...]) -> bytes:
    """Write CertificateRequest and Certificate, which are the same in every handshake."""
    offered = b"".join([scheme.to_bytes(2, "big") for scheme in schemes])
    extensions = ms.encode_extensions({ms.SIGNATURE_ALGORITHMS: ms.block(offered, 2)})
    request = ms.message(ms.CERTIFICATE_REQUEST, b"\x00" + extensions)
    return request + ms.encode_certificate(b"", entries)


def _server_hello(random: bytes, suite: int, extensions: ms.Extensions) -> bytes:
    """Write a ServerHello, or the HelloRetryRequest that differs by its random."""
    start = ms.LEGACY_VERSION + random + b"\x00" + suite.to_bytes(2, "big") + b"\x00"
    return ms.message(ms.SERVER_HELLO, start + ms.encode_extensions(extensions))


class ServerContext(Context):
    """The server's end. store: None gives no tickets and takes none.

    groups, suites: what is taken, in order of preference. schemes: what the client may sign with.
    ticket: the one that was redeemed.
    """

    is_client: ClassVar[bool] = False
    state: State
    alpn: bytes | None
    peer_key: bytes | None
    peer_params: bytes | None
    client_random: bytes
    schedule: Schedule
    early_data_offered: bool

    def __init__(self, settings: Settings, store: TicketStore | None, rng: Rng) -> None:
        super().__init__(settings, _HELLO)
        self.groups: Sequence[int] = settings.groups
        self.suites: tuple[int, ...] = SUITES
        self.schemes: tuple[int, ...] = (ms.ED25519,)
        self.ticket: Ticket | None = None
        self._rng = rng
        self._store = store
        self._offered_age = 0
        self._takes_tickets = False
        self._retried: tuple[int, int] | None = None  # suite and group of our HelloRetryRequest
        self._before = b""  # what stands before the second ClientHello in the transcript
        self._following = b""  # the client's 1-RTT secret, until its Finished has come

    def following_secret(self) -> bytes | None:
        """Give the client's 1-RTT secret before its Finished has come."""
        return self._following or None

    # -- ClientHello ---------------------------------------------------------------------------

    def on_hello(self, message: bytes) -> None:
        """Take a ClientHello, and answer."""
        client = ms.decode_client_hello(message)
        extensions = client.extensions
        self._negotiate(client)
        suite = next((suite for suite in self.suites if suite in client.suites), None)
        if suite is None:
            raise Alert(al.HANDSHAKE_FAILURE, "No supported cipher suite")
        group, share = self._choose_share(extensions, suite)
        if share is None:
            self._ask_again(message, suite, group)
            return
        self._resume(message, extensions, suite)
        if not self.resumed:
            self.schedule = Schedule(suite)
            self.schedule.update(self._before + message)
        try:
            public, shared = gr.answer(group, share)
        except ValueError as error:
            raise Alert(al.ILLEGAL_PARAMETER, "ClientHello has an invalid key share") from error
        answer = {ms.SUPPORTED_VERSIONS: ms.TLS_1_3, ms.KEY_SHARE: ms.encode_share(group, public)}
        if self.resumed:
            answer[ms.PRE_SHARED_KEY] = b"\x00\x00"
        self._send(INITIAL, self._add(_server_hello(os.urandom(32), suite, answer)))
        self._start_handshake_keys(shared)
        self._send_flight()

    def _negotiate(self, client: ms.ClientHello) -> None:
        """Refuse what cannot be, in the order in which rustls looks."""
        extensions = client.extensions
        modes = extensions.get(ms.PSK_KEY_EXCHANGE_MODES)
        if ms.PRE_SHARED_KEY in extensions and modes is None:
            reason = "a ticket without psk_key_exchange_modes"
            raise Alert(al.MISSING_EXTENSION, reason)
        self._takes_tickets = modes is not None and ms.PSK_DHE_KE in ms.whole(modes, 1)
        self.early_data_offered = ms.EARLY_DATA in extensions
        if not ms.offers_raw_keys(extensions):
            raise Alert(al.HANDSHAKE_FAILURE, WRONG_KIND)
        names = ms.decode_alpn(extensions.get(ms.ALPN))
        chosen = next((name for name in self.settings.alpns if name in names), None)
        if chosen is None:
            raise Alert(al.NO_APPLICATION_PROTOCOL, NO_ALPN)
        if 0 not in client.compressions:
            raise Alert(al.HANDSHAKE_FAILURE, "No supported compression method")
        if ms.ED25519 not in ms.numbers(extensions.get(ms.SIGNATURE_ALGORITHMS), 2):
            raise Alert(al.HANDSHAKE_FAILURE, "No supported signature algorithm")
        if 0x0304 not in ms.numbers(extensions.get(ms.SUPPORTED_VERSIONS), 1):
            raise Alert(al.PROTOCOL_VERSION, "No supported protocol version")
        self.alpn = chosen
        self.client_random = client.random
        if client.session_id:  # RFC 9001 section 8.4
            raise PeerError(PROTOCOL_VIOLATION, "ClientHello has a session id", CRYPTO)
        self.peer_params = extensions.get(ms.TRANSPORT_PARAMETERS)
        if self.peer_params is None:
            raise Alert(al.MISSING_EXTENSION, "transport parameters missing")

    def _choose_share(self, extensions: ms.Extensions, suite: int) -> tuple[int, bytes | None]:
        """Give the group and the client's share of it, None when it has to be asked for."""
        data = extensions.get(ms.KEY_SHARE)
        if data is None:
            raise Alert(al.MISSING_EXTENSION, "ClientHello has no key share")
        shares = dict(reversed(ms.decode_shares(data)))
        if self._retried is not None:
            group = self._retried[1]
            if self._retried != (suite, group) or list(shares) != [group]:
                reason = "the second ClientHello is not what was asked for"
                raise Alert(al.ILLEGAL_PARAMETER, reason)
            return group, shares[group]
        for group in self.groups:
            if group in shares:
                return group, shares[group]
        offered = ms.numbers(extensions.get(ms.SUPPORTED_GROUPS), 2)
        for group in self.groups:
            if group in offered:
                return group, None
        raise Alert(al.HANDSHAKE_FAILURE, "No supported key share")

    def _ask_again(self, message: bytes, suite: int, group: int) -> None:
        """Send a HelloRetryRequest."""
        self._retried = (suite, group)
        self.early_data_offered = False  # RFC 8446 section 4.2.10
        answer = {ms.SUPPORTED_VERSIONS: ms.TLS_1_3, ms.KEY_SHARE: group.to_bytes(2, "big")}
        request = _server_hello(ms.RETRY_RANDOM, suite, answer)
        first = hashlib.new(DIGESTS[suite], message).digest()
        self._before = ms.message(ms.MESSAGE_HASH, first) + request
        self._send(INITIAL, request)

    # -- resumption ----------------------------------------------------------------------------

    def _resume(self, message: bytes, extensions: ms.Extensions, suite: int) -> None:
        """Redeem the ticket that the client offers, if it does and all is well: `resumed`."""
        data = extensions.get(ms.PRE_SHARED_KEY)
        if data is None:
            return
        offer = ms.decode_offer(data)
        if not self._takes_tickets or len(offer.tickets) != 1 or len(offer.binders) != 1:
            return
        identity, self._offered_age = offer.tickets[0]
        ticket = self._redeem(identity)
        if ticket is None or ticket.cipher_suite != suite:
            return
        schedule = Schedule(suite, ticket.secret)
        schedule.update(self._before + message[: -offer.binders_size])
        if not hmac.compare_digest(offer.binders[0], schedule.binder(schedule.transcript())):
            raise Alert(al.DECRYPT_ERROR, "the binder of a ticket is wrong")
        schedule.update(message[-offer.binders_size :])
        self.schedule = schedule
        self.resumed = True
        if self.early_data_offered:
            self.early_data_accepted = True
            secret = schedule.derive(b"c e traffic", schedule.transcript())
            self._give_key(ZERO_RTT, False, secret)

    def _redeem(self, identity: bytes) -> Ticket | None:
        if self._store is None:
            return None
        ticket = self._store.redeem(identity, self.now)
        if ticket is None or (self.early_data_offered and not self._takes_early_data(ticket)):
            return None
        self.ticket = ticket
        return ticket

    def _takes_early_data(self, ticket: Ticket) -> bool:
        """Whether early data may be taken (RFC 8446 section 4.2.10, RFC 9001 section 4.6.2)."""
        return (
            self.alpn == ticket.alpn
            and ticket.age_error(self._offered_age, self.now) <= MAX_AGE_ERROR
            and not limits_shrank(ticket.params, self.settings.params)
        )

    # -- our flight ----------------------------------------------------------------------------

    def _send_flight(self) -> None:
        """Write all from EncryptedExtensions to Finished."""
        assert self.alpn is not None
        extensions = {ms.ALPN: ms.encode_alpn((self.alpn,))}
        if self.early_data_accepted:
            extensions[ms.EARLY_DATA] = b""
        block = ms.encode_extensions(extensions | self.extensions)
        flight = self._add(ms.message(ms.ENCRYPTED_EXTENSIONS, block))
        if not self.resumed:
            flight += self._prove(_ask_and_show(self.schemes, tuple(self.entries)))
        self._send(HANDSHAKE, flight + self._finish())
        self._following, server = self._conclude()
        self._give_key(ONE_RTT, True, server)
        if self.resumed:
            assert self.ticket is not None
            self.peer_key = self.ticket.peer
        self.state = _FINISHED if self.resumed else _CERTIFICATE

    # -- the client's flight -------------------------------------------------------------------

    def on_certificate(self, message: bytes) -> None:
        """Take Certificate."""
        self._check_certificate(message, None)
        self.state = _VERIFY

    def _on_no_certificate(self) -> None:
        raise Alert(al.CERTIFICATE_REQUIRED, NO_KEY)

    def on_verify(self, message: bytes) -> None:
        """Take CertificateVerify."""
        self._check_verify(message)
        self.state = _FINISHED

    def on_finished(self, message: bytes) -> None:
        """Take Finished, and give tickets."""
        self._check_finished(message)
        self._give_key(ONE_RTT, False, self._following)
        self._following = b""
        self._end()
        self.state = _AFTER
        if self._store is not None and self._takes_tickets:
            for number in range(TICKETS):
                self._give_ticket(self._store, bytes((number,)))

    def _give_ticket(self, store: TicketStore, nonce: bytes) -> None:
        assert self.peer_key is not None
        assert self.alpn is not None
        random = self._rng(_IDENTITY_LENGTH + 4)
        ticket = Ticket(
            peer=self.peer_key,
            identity=random[:_IDENTITY_LENGTH],
            secret=self.resumption_secret(nonce),
            cipher_suite=self.schedule.suite,
            age_add=int.from_bytes(random[_IDENTITY_LENGTH:], "big"),
            alpn=self.alpn,
            params=self.settings.params,
            early_data=True,
            received_at=self.now,
            expires_at=self.now + TICKET_LIFETIME,
        )
        store.add(ticket)
        offer = ms.TicketOffer(
            TICKET_LIFETIME, ticket.age_add, nonce, ticket.identity, EARLY_DATA_SIZE
        )
        self._send(ONE_RTT, ms.encode_ticket(offer))
