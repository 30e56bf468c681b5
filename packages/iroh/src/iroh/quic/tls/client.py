"""The client's side of what goes beyond a plain handshake: tickets, 0-RTT, a second ClientHello.

    ClientHello            x25519 share; P-256 and P-384 offered without one
      [early_data, psk]    with a ticket
                           <-- HelloRetryRequest   another group, or a cookie; once
    ClientHello again      the same but for key share, cookie, binder; no early data
                           <-- ServerHello ...
                           <-- NewSessionTicket    any number, stored

Transcript after a HelloRetryRequest (RFC 8446 section 4.4.1)

    | fe 00 00 n | hash of the first ClientHello, n bytes | HelloRetryRequest | second ClientHello |
"""

from typing import Any

from aioquic import tls
from aioquic._buffer import Buffer
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, x25519

from iroh.quic.errors import PROTOCOL_VIOLATION, PeerError
from iroh.quic.tls import hello as raw
from iroh.quic.tls.context import AlertUnsupportedExtension, RawKeyContext, whole_message
from iroh.quic.tls.crypto_stream import CRYPTO
from iroh.quic.tls.early_data import limits_shrank
from iroh.quic.tls.opaque import OpaqueText
from iroh.quic.tls.tickets import Ticket, TicketStore

MAX_TICKET_LIFETIME = 604_800  # seconds; RFC 8446 section 4.6.1
EARLY_DATA_SIZE = 0xFFFFFFFF  # RFC 9001 section 4.6.1: the only size in QUIC
RETRY_RANDOM = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
"""ServerHello.random of a HelloRetryRequest (RFC 8446 section 4.1.3)."""
_GROUPS = [tls.Group.X25519, tls.Group.SECP256R1, tls.Group.SECP384R1]
"""What the Rust peer offers; only the first comes with a key share."""
_PLAIN = frozenset(
    (
        tls.ExtensionType.SUPPORTED_VERSIONS,
        tls.ExtensionType.KEY_SHARE,
        tls.ExtensionType.PRE_SHARED_KEY,
    )
)
"""What a ServerHello may carry (RFC 8446 section 4.2)."""
_RETRY = frozenset(
    (tls.ExtensionType.SUPPORTED_VERSIONS, tls.ExtensionType.KEY_SHARE, tls.ExtensionType.COOKIE)
)


class ClientContext(RawKeyContext):
    """The client's end. store: None sends no tickets and asks for none.

    early_data: whether to offer 0-RTT. now: set by the caller before every call.
    ticket: the one that is offered. early_ticket: the one whose 0-RTT keys were given out.
    """

    def __init__(
        self,
        *,
        store: TicketStore | None,
        client_random: bytes,
        early_data: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(is_client=True, **options)
        self._early_data = early_data
        self.client_random = client_random
        self.now = 0.0
        self.ticket: Ticket | None = None
        self.early_ticket: Ticket | None = None
        self._store = store
        self._supported_groups = list(_GROUPS)
        self._hello: tls.ClientHello | None = None
        self._first_hello = b""
        self._retried: tuple[int, int] | None = None  # suite and group of a HelloRetryRequest

    @property
    def early_data_offered(self) -> bool:
        """Whether 0-RTT keys were given out."""
        return self.early_ticket is not None

    # -- ClientHello ---------------------------------------------------------------------------

    def _client_send_hello(self, output_buf: Buffer) -> None:
        if self._store is not None and self._expected_peer is not None:
            self.ticket = self._store.take(self._expected_peer, self.now)
        modes = None if self._store is None else self._psk_key_exchange_modes
        self._x25519_private_key = x25519.X25519PrivateKey.generate()
        self._hello = tls.ClientHello(
            random=self.client_random,
            legacy_session_id=b"",
            cipher_suites=[int(suite) for suite in self._cipher_suites],
            legacy_compression_methods=self._legacy_compression_methods,
            alpn_protocols=self._alpn_protocols,
            key_share=[tls.encode_public_key(self._x25519_private_key.public_key())],
            psk_key_exchange_modes=modes,
            signature_algorithms=self._signature_algorithms,
            supported_groups=[int(group) for group in self._supported_groups],
            supported_versions=self._supported_versions,
            other_extensions=self.handshake_extensions,
        )
        ticket = self.ticket
        if self._early_data and ticket and ticket.early_data and ticket.alpn in self._alpns:
            self._hello.early_data = True
            self.early_ticket = ticket
            self.allow_answer(tls.ExtensionType.EARLY_DATA)
        self._first_hello = self._push_hello(output_buf, b"", self._cipher_suites)
        if self.early_ticket is not None:
            schedule = self._key_schedule_psk
            assert schedule is not None
            secret = schedule.derive_secret(b"c e traffic")
            self.update_traffic_key_cb(
                tls.Direction.ENCRYPT, tls.Epoch.ZERO_RTT, schedule.cipher_suite, secret
            )
        self._set_state(tls.State.CLIENT_EXPECT_SERVER_HELLO)

    def _push_hello(self, out: Buffer, before: bytes, suites: list[tls.CipherSuite]) -> bytes:
        """Write the ClientHello that follows on `before`, and start the key schedules."""
        hello, ticket = self._hello, self.ticket
        assert hello is not None
        start = out.tell()
        self._key_schedule_psk = None
        hello.pre_shared_key = None
        if ticket is None:
            tls.push_client_hello(out, hello)
        else:
            schedule = tls.KeySchedule(tls.CipherSuite(ticket.cipher_suite))
            schedule.extract(ticket.secret)
            binder_key = schedule.derive_secret(b"res binder")
            size = schedule.algorithm.digest_size
            hello.pre_shared_key = tls.OfferedPsks(
                identities=[(ticket.identity, ticket.obfuscated_age(self.now))],
                binders=[bytes(size)],
            )
            tls.push_client_hello(out, hello)
            # The binder signs everything before the list of binders: | 2 | 1 | binder |
            binders_at = out.tell() - size - 3
            schedule.update_hash(before + out.data_slice(start, binders_at))
            binder = schedule.finished_verify_data(binder_key)
            out.seek(binders_at + 3)
            out.push_bytes(binder)
            schedule.update_hash(out.data_slice(binders_at, out.tell()))
            self._key_schedule_psk = schedule
        message = out.data_slice(start, out.tell())
        self._key_schedule_proxy = tls.KeyScheduleProxy(suites)
        self._key_schedule_proxy.extract(None)
        self._key_schedule_proxy.update_hash(before + message)
        return message

    # -- ServerHello ---------------------------------------------------------------------------

    def _client_handle_hello(self, input_buf: Buffer, output_buf: Buffer) -> None:
        message = whole_message(input_buf)
        server = raw.server_hello(message)
        if server.session_id:
            raise tls.AlertIllegalParameter("ServerHello has a session id that we did not send")
        if server.random == RETRY_RANDOM:
            self._follow_retry(server, message, output_buf)
            input_buf.seek(len(message))
            return
        if not _PLAIN.issuperset(server.extensions):
            raise AlertUnsupportedExtension("ServerHello answers what was not asked")
        if self._retried is not None:
            share = server.extensions.get(tls.ExtensionType.KEY_SHARE, b"")
            if self._retried != (server.suite, int.from_bytes(share[:2], "big")):
                raise tls.AlertIllegalParameter("ServerHello differs from the HelloRetryRequest")
        self._hello, self._first_hello = None, b""
        super()._client_handle_hello(input_buf, output_buf)

    def _follow_retry(self, server: raw.ServerHello, message: bytes, out: Buffer) -> None:
        hello = self._hello
        assert hello is not None
        assert hello.key_share is not None
        if self._retried is not None:
            raise tls.AlertUnexpectedMessage("a second HelloRetryRequest")
        if not _RETRY.issuperset(server.extensions):
            raise AlertUnsupportedExtension("HelloRetryRequest answers what was not asked")
        suite = tls.negotiate(
            self._cipher_suites,
            [server.suite],
            tls.AlertIllegalParameter("HelloRetryRequest has a cipher suite we did not offer"),
        )
        if server.extensions.get(tls.ExtensionType.SUPPORTED_VERSIONS) != b"\x03\x04":
            raise tls.AlertIllegalParameter("HelloRetryRequest is not for TLS 1.3")
        group = self._retry_share(server.extensions.get(tls.ExtensionType.KEY_SHARE))
        cookie = server.extensions.get(tls.ExtensionType.COOKIE)
        if cookie is not None:
            if len(cookie) < 3 or int.from_bytes(cookie[:2], "big") != len(cookie) - 2:
                raise tls.AlertDecodeError("the cookie could not be parsed")
            extensions = [*hello.other_extensions, (int(tls.ExtensionType.COOKIE), cookie)]
            hello.other_extensions = extensions
        elif group is None:
            raise tls.AlertIllegalParameter("HelloRetryRequest asks for no change")
        self._retried = (server.suite, hello.key_share[0][0])
        hello.early_data = False  # RFC 8446 section 4.1.2
        if self.ticket is not None and self.ticket.cipher_suite != suite:
            self.ticket = None
        digest = hashes.Hash(tls.cipher_suite_hash(suite))
        digest.update(self._first_hello)
        value = digest.finalize()
        before = bytes((tls.HandshakeType.MESSAGE_HASH, 0, 0, len(value))) + value + message
        self._push_hello(out, before, [suite])

    def _retry_share(self, selected: bytes | None) -> int | None:
        """Replace the key share by one of the selected group."""
        if selected is None:
            return None
        group = int.from_bytes(selected, "big")
        if len(selected) != 2:
            raise tls.AlertDecodeError("HelloRetryRequest could not be parsed")
        if group not in _GROUPS[1:]:
            raise tls.AlertIllegalParameter("HelloRetryRequest for a group that cannot be")
        key = ec.generate_private_key(tls.GROUP_TO_CURVE[group]())
        self._x25519_private_key = None
        self._ec_private_keys = [key]
        assert self._hello is not None
        self._hello.key_share = [tls.encode_public_key(key.public_key())]
        return group

    # -- resumption ----------------------------------------------------------------------------

    def _client_handle_encrypted_extensions(self, input_buf: Buffer) -> None:
        extensions = raw.encrypted_extensions(whole_message(input_buf))
        super()._client_handle_encrypted_extensions(input_buf)
        ticket = self.ticket
        self.early_data_accepted = tls.ExtensionType.EARLY_DATA in extensions
        if not self._session_resumed or ticket is None:
            if self.early_data_accepted:
                raise tls.AlertIllegalParameter("0-RTT accepted without resumption")
            return
        # The binder and the server's Finished prove the peer: it knows the secret of a
        # connection on which it had proven its key.
        self.peer_key = ticket.peer
        if self.early_data_accepted:
            self._check_early_data(extensions, ticket)
        self._set_state(tls.State.CLIENT_EXPECT_FINISHED)

    def _check_early_data(self, extensions: dict[int, bytes], ticket: Ticket) -> None:
        if extensions[tls.ExtensionType.EARLY_DATA]:
            raise tls.AlertDecodeError("early_data has a value")
        if self._retried is not None or self.alpn_negotiated != OpaqueText(ticket.alpn):
            raise tls.AlertIllegalParameter("0-RTT accepted for another handshake")
        params = extensions.get(tls.ExtensionType.QUIC_TRANSPORT_PARAMETERS, b"")
        if limits_shrank(ticket.params, params):
            reason = "0-RTT accepted with incompatible transport parameters"
            raise PeerError(PROTOCOL_VIOLATION, reason, CRYPTO)

    def _client_handle_new_session_ticket(self, input_buf: Buffer) -> None:
        offer = tls.pull_new_session_ticket(input_buf)
        if offer.max_early_data_size not in (None, 0, EARLY_DATA_SIZE):
            raise PeerError(PROTOCOL_VIOLATION, "a ticket with an invalid early data size", CRYPTO)
        if self._store is None or self.peer_key is None or not offer.ticket:
            return
        found = dict(self.received_extensions or ())
        lifetime = min(offer.ticket_lifetime, MAX_TICKET_LIFETIME)
        assert self.alpn_negotiated is not None
        assert self.key_schedule is not None
        self._store.add(
            Ticket(
                peer=self.peer_key,
                identity=offer.ticket,
                secret=self.resumption_secret(offer.ticket_nonce),
                cipher_suite=int(self.key_schedule.cipher_suite),
                age_add=offer.ticket_age_add,
                alpn=self.alpn_negotiated.encode(),
                params=found[tls.ExtensionType.QUIC_TRANSPORT_PARAMETERS],
                early_data=bool(offer.max_early_data_size),
                received_at=self.now,
                expires_at=self.now + lifetime,
            )
        )
