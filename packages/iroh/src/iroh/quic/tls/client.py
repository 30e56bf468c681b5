"""The client's side of a handshake, with tickets, 0-RTT, and a second ClientHello.

    state           message -> next state
    HELLO           ServerHello -> EXTENSIONS; HelloRetryRequest -> HELLO, once
    EXTENSIONS      EncryptedExtensions -> REQUEST, FINISHED when resumed
    REQUEST         CertificateRequest -> CERTIFICATE; or as in CERTIFICATE
    CERTIFICATE     Certificate -> VERIFY
    VERIFY          CertificateVerify -> FINISHED
    FINISHED        Finished -> AFTER; our Certificate, CertificateVerify, Finished leave
    AFTER           NewSessionTicket -> AFTER

    ClientHello            x25519 share; P-256 and P-384 offered without one
      [early_data, psk]    with a ticket
                           <-- HelloRetryRequest   another group, or a cookie; once
    ClientHello again      the same but for key share, cookie, binder; no early data
                           <-- ServerHello ...
                           <-- NewSessionTicket    any number, stored

Transcript after a HelloRetryRequest (RFC 8446 section 4.4.1)

    | fe 00 00 n | hash of the first ClientHello, n bytes | HelloRetryRequest | second ClientHello |
"""

import hashlib
from typing import ClassVar

from iroh.quic.errors import PROTOCOL_VIOLATION, PeerError
from iroh.quic.frames.base import HANDSHAKE, INITIAL, ONE_RTT, ZERO_RTT
from iroh.quic.tls import alerts as al
from iroh.quic.tls import groups as gr
from iroh.quic.tls import messages as ms
from iroh.quic.tls.alerts import Alert
from iroh.quic.tls.context import NO_ALPN, WRONG_KIND, Context, Settings, State
from iroh.quic.tls.crypto_stream import CRYPTO
from iroh.quic.tls.early_data import limits_shrank
from iroh.quic.tls.schedule import DIGESTS, SUITES, Schedule
from iroh.quic.tls.tickets import Ticket, TicketStore

MAX_TICKET_LIFETIME = 604_800  # seconds; RFC 8446 section 4.6.1
EARLY_DATA_SIZE = 0xFFFFFFFF  # RFC 9001 section 4.6.1: the only size in QUIC
_RETRY_GROUPS = (gr.SECP256R1, gr.SECP384R1)
"""Offered without a key share, as the Rust peer does."""
_PLAIN = frozenset((ms.SUPPORTED_VERSIONS, ms.KEY_SHARE, ms.PRE_SHARED_KEY))
"""What a ServerHello may carry (RFC 8446 section 4.2)."""
_RETRY = frozenset((ms.SUPPORTED_VERSIONS, ms.KEY_SHARE, ms.COOKIE))
_MAY_ANSWER = frozenset(
    (
        *(ms.ALPN, ms.TRANSPORT_PARAMETERS, ms.SUPPORTED_GROUPS),
        *(ms.CLIENT_CERTIFICATE_TYPE, ms.SERVER_CERTIFICATE_TYPE),
    )
)
"""What EncryptedExtensions may carry: only what we sent (RFC 8446 section 4.2)."""
_ED25519_ONLY = ms.block(ms.ED25519.to_bytes(2, "big"), 2)
_TLS_1_3_ONLY = ms.block(ms.TLS_1_3, 1)
_FRESH_KEYS = ms.block(bytes((ms.PSK_DHE_KE,)), 1)

_HELLO: State = (INITIAL, {ms.SERVER_HELLO: "on_hello"})
_EXTENSIONS: State = (HANDSHAKE, {ms.ENCRYPTED_EXTENSIONS: "on_extensions"})
_REQUEST: State = (
    HANDSHAKE,
    {ms.CERTIFICATE_REQUEST: "on_request", ms.CERTIFICATE: "on_certificate"},
)
_CERTIFICATE: State = (HANDSHAKE, {ms.CERTIFICATE: "on_certificate"})
_VERIFY: State = (HANDSHAKE, {ms.CERTIFICATE_VERIFY: "on_verify"})
_FINISHED: State = (HANDSHAKE, {ms.FINISHED: "on_finished"})
_AFTER: State = (ONE_RTT, {ms.NEW_SESSION_TICKET: "on_ticket"})


class ClientContext(Context):
    """The client's end. store: None sends no tickets and asks for none.

    peer: the key that is dialled. early_data: whether to offer 0-RTT.
    ticket: the one that is offered. early_ticket: the one whose 0-RTT keys were given out.
    """

    is_client: ClassVar[bool] = True
    state: State
    alpn: bytes | None
    peer_key: bytes | None
    peer_params: bytes | None
    schedule: Schedule
    early_data_accepted: bool

    def __init__(
        self,
        settings: Settings,
        peer: bytes,
        store: TicketStore | None,
        client_random: bytes,
        early_data: bool,
    ) -> None:
        super().__init__(settings, _HELLO)
        self.client_random = client_random
        self.ticket: Ticket | None = None
        self.early_ticket: Ticket | None = None
        self._peer = peer
        self._early_data = early_data
        self._store = store
        self._shares: list[tuple[int, bytes]] = []
        self._finish_of: dict[int, gr.Finish] = {}
        self._schedule_psk: Schedule | None = None  # over the ClientHello, with the ticket's secret
        self._hellos = b""  # the transcript so far: its hash is not known before the ServerHello
        self._retried: tuple[int, int] | None = None  # suite and group of a HelloRetryRequest
        self._request: bytes | None = None  # the context of a CertificateRequest
        offered = (*settings.groups, *_RETRY_GROUPS)
        self.extensions.update(
            {
                ms.SUPPORTED_VERSIONS: _TLS_1_3_ONLY,
                ms.SIGNATURE_ALGORITHMS: _ED25519_ONLY,
                ms.SUPPORTED_GROUPS: ms.block(b"".join([g.to_bytes(2, "big") for g in offered]), 2),
                ms.ALPN: ms.encode_alpn(settings.alpns),
            }
        )
        if store is not None:
            self.extensions[ms.PSK_KEY_EXCHANGE_MODES] = _FRESH_KEYS

    # -- ClientHello ---------------------------------------------------------------------------

    def start(self) -> None:
        """Send the ClientHello."""
        if self._store is not None:
            self.ticket = self._store.take(self._peer, self.now)
        self._shares = [self._make_share(group) for group in self.settings.groups]
        ticket = self.ticket
        if self._early_data and ticket and ticket.early_data and ticket.alpn in self.settings.alpns:
            self.extensions[ms.EARLY_DATA] = b""
            self.early_ticket = ticket
            self.early_data_offered = True
        self._send_hello(b"")
        if self.early_ticket is not None:
            schedule = self._schedule_psk
            assert schedule is not None  # there is a ticket
            self.schedule = schedule
            secret = schedule.derive(b"c e traffic", schedule.transcript())
            self._give_key(ZERO_RTT, True, secret)

    def _make_share(self, group: int) -> tuple[int, bytes]:
        share, self._finish_of[group] = gr.offer(group)
        return group, share

    def _send_hello(self, before: bytes) -> None:
        """Write the ClientHello that follows on `before`."""
        ticket = self.ticket
        self.extensions.pop(ms.PRE_SHARED_KEY, None)  # it has to be the last one
        self.extensions[ms.KEY_SHARE] = ms.encode_shares(self._shares)
        self._schedule_psk = None
        if ticket is None:
            hello = ms.encode_hello(self.client_random, SUITES, self.extensions)
        else:
            schedule = self._schedule_psk = Schedule(ticket.cipher_suite, ticket.secret)
            age = ticket.obfuscated_age(self.now).to_bytes(4, "big")
            binders = ms.block(ms.block(bytes(schedule.size), 1), 2)
            identities = ms.block(ms.block(ticket.identity, 2) + age, 2)
            self.extensions[ms.PRE_SHARED_KEY] = identities + binders
            hello = ms.encode_hello(self.client_random, SUITES, self.extensions)
            # The binder signs everything before the list of binders (RFC 8446 section 4.2.11.2).
            signed = hello[: -len(binders)]
            schedule.update(before + signed)
            binder = schedule.binder(schedule.transcript())
            hello = signed + ms.block(ms.block(binder, 1), 2)
            schedule.update(hello[len(signed) :])
        self._hellos = before + hello
        self._send(INITIAL, hello)

    # -- ServerHello ---------------------------------------------------------------------------

    def on_hello(self, message: bytes) -> None:
        """Take a ServerHello or HelloRetryRequest."""
        server = ms.decode_server_hello(message)
        if server.session_id:
            raise Alert(al.ILLEGAL_PARAMETER, "ServerHello has a session id that we did not send")
        if server.random == ms.RETRY_RANDOM:
            self._follow_retry(server, message)
            return
        extensions = server.extensions
        if not _PLAIN.issuperset(extensions):
            raise Alert(al.UNSUPPORTED_EXTENSION, "ServerHello answers what was not asked")
        share = extensions.get(ms.KEY_SHARE, b"")
        group = int.from_bytes(share[:2], "big")
        if self._retried is not None and self._retried != (server.suite, group):
            reason = "ServerHello differs from the HelloRetryRequest"
            raise Alert(al.ILLEGAL_PARAMETER, reason)
        if server.suite not in SUITES or server.compression:
            raise Alert(al.ILLEGAL_PARAMETER, "ServerHello chooses what we did not offer")
        if extensions.get(ms.SUPPORTED_VERSIONS) != ms.TLS_1_3:
            raise Alert(al.ILLEGAL_PARAMETER, "ServerHello has a version we did not advertise")
        if ms.KEY_SHARE not in extensions:
            raise Alert(al.MISSING_EXTENSION, "ServerHello has no key share")
        schedule = self._select_schedule(server.suite, extensions.get(ms.PRE_SHARED_KEY))
        shared = self._agree(group, ms.whole(share[2:], 2))
        self.schedule = schedule
        schedule.update(message)
        self._hellos = b""
        self._schedule_psk = None
        self._finish_of.clear()
        self._shares.clear()
        self._start_handshake_keys(shared)
        self.state = _EXTENSIONS

    def _select_schedule(self, suite: int, selected: bytes | None) -> Schedule:
        """Give the schedule of the ticket if the server takes it, else a fresh one."""
        if selected is None:
            schedule = Schedule(suite)
            schedule.update(self._hellos)
            return schedule
        of_ticket = self._schedule_psk
        if of_ticket is None or selected != b"\x00\x00" or suite != of_ticket.suite:
            raise Alert(al.ILLEGAL_PARAMETER)
        self.resumed = True
        return of_ticket

    def _agree(self, group: int, share: bytes) -> bytes:
        finish = self._finish_of.get(group)
        if finish is None:
            reason = "ServerHello has a key share we did not advertise"
            raise Alert(al.ILLEGAL_PARAMETER, reason)
        try:
            return finish(share)
        except ValueError as error:
            raise Alert(al.ILLEGAL_PARAMETER, "ServerHello has an invalid key share") from error

    def _follow_retry(self, server: ms.ServerHello, message: bytes) -> None:
        if self._retried is not None:
            raise Alert(al.UNEXPECTED_MESSAGE, "a second HelloRetryRequest")
        extensions = server.extensions
        if not _RETRY.issuperset(extensions):
            raise Alert(al.UNSUPPORTED_EXTENSION, "HelloRetryRequest answers what was not asked")
        if server.suite not in SUITES:
            reason = "HelloRetryRequest has a cipher suite we did not offer"
            raise Alert(al.ILLEGAL_PARAMETER, reason)
        if extensions.get(ms.SUPPORTED_VERSIONS) != ms.TLS_1_3:
            raise Alert(al.ILLEGAL_PARAMETER, "HelloRetryRequest is not for TLS 1.3")
        group = self._retry_share(extensions.get(ms.KEY_SHARE))
        cookie = extensions.get(ms.COOKIE)
        if cookie is not None:
            if len(cookie) < 3 or int.from_bytes(cookie[:2], "big") != len(cookie) - 2:
                raise Alert(al.DECODE_ERROR, "the cookie could not be parsed")
            self.extensions[ms.COOKIE] = cookie
        elif group is None:
            raise Alert(al.ILLEGAL_PARAMETER, "HelloRetryRequest asks for no change")
        self._retried = (server.suite, self._shares[0][0])
        self.extensions.pop(ms.EARLY_DATA, None)  # RFC 8446 section 4.1.2
        if self.ticket is not None and self.ticket.cipher_suite != server.suite:
            self.ticket = None
        value = hashlib.new(DIGESTS[server.suite], self._hellos).digest()
        self._send_hello(ms.message(ms.MESSAGE_HASH, value) + message)

    def _retry_share(self, selected: bytes | None) -> int | None:
        """Replace the key shares by one of the selected group."""
        if selected is None:
            return None
        group = int.from_bytes(selected, "big")
        if len(selected) != 2:
            raise Alert(al.DECODE_ERROR, "HelloRetryRequest could not be parsed")
        if group not in _RETRY_GROUPS:
            raise Alert(al.ILLEGAL_PARAMETER, "HelloRetryRequest for a group that cannot be")
        self._finish_of.clear()
        self._shares = [self._make_share(group)]
        return group

    # -- the server's flight -------------------------------------------------------------------

    def on_extensions(self, message: bytes) -> None:
        """Take EncryptedExtensions."""
        extensions = ms.decode_encrypted_extensions(message)
        answered = extensions.keys() - _MAY_ANSWER
        if self.early_data_offered:
            answered.discard(ms.EARLY_DATA)
        if answered:
            reason = "EncryptedExtensions answer what was not asked"
            raise Alert(al.UNSUPPORTED_EXTENSION, reason)
        if not ms.selects_raw_keys(extensions):
            raise Alert(al.HANDSHAKE_FAILURE, WRONG_KIND)
        chosen = ms.decode_alpn(extensions.get(ms.ALPN))
        if len(chosen) != 1 or chosen[0] not in self.settings.alpns:
            raise Alert(al.NO_APPLICATION_PROTOCOL, NO_ALPN)
        self.alpn = chosen[0]
        self.peer_params = extensions.get(ms.TRANSPORT_PARAMETERS)
        if self.peer_params is None:
            raise Alert(al.MISSING_EXTENSION, "transport parameters missing")
        self._add(message)
        self.early_data_accepted = ms.EARLY_DATA in extensions
        ticket = self.ticket
        if not self.resumed or ticket is None:
            if self.early_data_accepted:
                raise Alert(al.ILLEGAL_PARAMETER, "0-RTT accepted without resumption")
            self.state = _REQUEST
            return
        # The binder and the server's Finished prove the peer: it knows the secret of a
        # connection on which it had proven its key.
        self.peer_key = ticket.peer
        if self.early_data_accepted:
            self._check_early_data(extensions[ms.EARLY_DATA], ticket)
        self.state = _FINISHED

    def _check_early_data(self, value: bytes, ticket: Ticket) -> None:
        if value:
            raise Alert(al.DECODE_ERROR, "early_data has a value")
        if self._retried is not None or self.alpn != ticket.alpn:
            raise Alert(al.ILLEGAL_PARAMETER, "0-RTT accepted for another handshake")
        if limits_shrank(ticket.params, self.peer_params or b""):
            reason = "0-RTT accepted with incompatible transport parameters"
            raise PeerError(PROTOCOL_VIOLATION, reason, CRYPTO)

    def on_request(self, message: bytes) -> None:
        """Take CertificateRequest."""
        self._request, extensions = ms.decode_certificate_request(message)
        if ms.ED25519 not in ms.numbers(extensions.get(ms.SIGNATURE_ALGORITHMS), 2):
            raise Alert(al.HANDSHAKE_FAILURE, "CertificateRequest does not offer ed25519")
        self._add(message)
        self.state = _CERTIFICATE

    def on_certificate(self, message: bytes) -> None:
        """Take Certificate."""
        self._check_certificate(message, self._peer)
        self.state = _VERIFY

    def _on_no_certificate(self) -> None:
        raise Alert(al.DECODE_ERROR, "Certificate message is empty")  # RFC 8446 section 4.4.2.4

    def on_verify(self, message: bytes) -> None:
        """Take CertificateVerify."""
        self._check_verify(message)
        self.state = _FINISHED

    def on_finished(self, message: bytes) -> None:
        """Take Finished, and answer with our own flight."""
        self._check_finished(message)
        client, server = self._conclude()
        self._give_key(ONE_RTT, False, server)
        proof = b""
        if self._request is not None:
            certificate = ms.encode_certificate(self._request, self.entries)
            proof = self._prove(certificate) if self.entries else self._add(certificate)
        self._send(HANDSHAKE, proof + self._finish())
        self._give_key(ONE_RTT, True, client)
        self._end()
        self.state = _AFTER

    # -- tickets -------------------------------------------------------------------------------

    def on_ticket(self, message: bytes) -> None:
        """Take NewSessionTicket."""
        offer = ms.decode_ticket(message)
        if offer.early_data not in (None, 0, EARLY_DATA_SIZE):
            raise PeerError(PROTOCOL_VIOLATION, "a ticket with an invalid early data size", CRYPTO)
        if self._store is None or self.peer_key is None or not offer.ticket:
            return
        assert self.alpn is not None
        self._store.add(
            Ticket(
                peer=self.peer_key,
                identity=offer.ticket,
                secret=self.resumption_secret(offer.nonce),
                cipher_suite=self.schedule.suite,
                age_add=offer.age_add,
                alpn=self.alpn,
                params=self.peer_params or b"",
                early_data=bool(offer.early_data),
                received_at=self.now,
                expires_at=self.now + min(offer.lifetime, MAX_TICKET_LIFETIME),
            )
        )
