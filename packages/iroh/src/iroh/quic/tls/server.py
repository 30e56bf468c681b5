"""The server's side of what goes beyond a plain handshake: tickets, resumption, 0-RTT.

    ClientHello [early_data, psk] -->
                                     known ticket, good binder       no certificates
                                     and early data that is fresh    0-RTT keys
                                 <-- ServerHello [psk], EncryptedExtensions [early_data], Finished
    Finished -->
                                 <-- NewSessionTicket, twice

Early data is taken only when everything speaks for it; else the handshake is a full one, which the
client takes for a rejection.
"""

from typing import Any

from aioquic import tls
from aioquic._buffer import Buffer

from iroh.quic.api import Rng
from iroh.quic.tls import hello as raw
from iroh.quic.tls.context import RawKeyContext, whole_message
from iroh.quic.tls.early_data import limits_shrank
from iroh.quic.tls.tickets import Ticket, TicketStore

TICKETS = 2
"""Tickets per connection (rustls send_tls13_tickets)."""
TICKET_LIFETIME = 86_400
"""Seconds (rustls: 24 hours for a ticket with state)."""
MAX_AGE_ERROR = 60.0
"""Seconds by which a client may be wrong about a ticket's age (rustls MAX_FRESHNESS_SKEW_MS)."""
EARLY_DATA_SIZE = 0xFFFFFFFF  # RFC 9001 section 4.6.1
_IDENTITY_LENGTH = 32  # rustls: ids of stateful tickets


class ServerContext(RawKeyContext):
    """The server's end. store: None gives no tickets and takes none.

    now: set by the caller before every call. ticket: the one that was redeemed.
    early_data_offered: whether the ClientHello did.
    """

    def __init__(
        self, *, store: TicketStore | None, rng: Rng, transport_parameters: bytes, **options: Any
    ) -> None:
        super().__init__(is_client=False, transport_parameters=transport_parameters, **options)
        self.now = 0.0
        self.ticket: Ticket | None = None
        self._params = transport_parameters
        self._rng = rng
        self._store = store
        self._offered_age: int | None = None
        self.early_data_offered = False
        if store is not None:
            redeem: Any = self._redeem  # a Ticket has what aioquic reads of its SessionTicket
            self.get_session_ticket_cb = redeem

    def _server_handle_hello(
        self, input_buf: Buffer, initial_buf: Buffer, handshake_buf: Buffer
    ) -> None:
        found = raw.client_hello_extensions(whole_message(input_buf))
        if (
            tls.ExtensionType.PRE_SHARED_KEY in found
            and tls.ExtensionType.PSK_KEY_EXCHANGE_MODES not in found
        ):
            raise tls.AlertMissingExtension("a ticket without psk_key_exchange_modes")
        self._offered_age = raw.offered_ticket_age(found)
        self.early_data_offered = tls.ExtensionType.EARLY_DATA in found
        super()._server_handle_hello(input_buf, initial_buf, handshake_buf)
        if self._session_resumed:
            assert self.ticket is not None
            self.peer_key = self.ticket.peer
            # aioquic would wait for the certificate that it did not ask for.
            self._server_expect_finished()

    def following_secret(self) -> bytes | None:
        """Give the client's 1-RTT secret before its Finished has come."""
        secret: bytes | None = getattr(self, "_next_dec_key", None)
        return secret

    def _redeem(self, identity: bytes) -> Ticket | None:
        assert self._store is not None
        ticket = self._store.redeem(identity, self.now)
        if ticket is None or (self.early_data_offered and not self._takes_early_data(ticket)):
            return None
        self.ticket = ticket
        return ticket

    def _takes_early_data(self, ticket: Ticket) -> bool:
        """Whether early data may be taken (RFC 8446 section 4.2.10, RFC 9001 section 4.6.2)."""
        chosen, age = self.alpn_negotiated, self._offered_age
        return (
            chosen is not None
            and chosen.encode() == ticket.alpn
            and age is not None
            and ticket.age_error(age, self.now) <= MAX_AGE_ERROR
            and not limits_shrank(ticket.params, self._params)
        )

    def _server_handle_finished(self, input_buf: Buffer, output_buf: Buffer) -> None:
        super()._server_handle_finished(input_buf, output_buf)
        if self._store is not None and self._psk_key_exchange_mode is not None:
            for number in range(TICKETS):
                self._give_ticket(self._store, bytes((number,)), output_buf)

    def _give_ticket(self, store: TicketStore, nonce: bytes, out: Buffer) -> None:
        assert self.peer_key is not None
        assert self.alpn_negotiated is not None
        assert self.key_schedule is not None
        ticket = Ticket(
            peer=self.peer_key,
            identity=self._rng(_IDENTITY_LENGTH),
            secret=self.resumption_secret(nonce),
            cipher_suite=int(self.key_schedule.cipher_suite),
            age_add=int.from_bytes(self._rng(4), "big"),
            alpn=self.alpn_negotiated.encode(),
            params=self._params,
            early_data=True,
            received_at=self.now,
            expires_at=self.now + TICKET_LIFETIME,
        )
        store.add(ticket)
        tls.push_new_session_ticket(
            out,
            tls.NewSessionTicket(
                ticket_lifetime=TICKET_LIFETIME,
                ticket_age_add=ticket.age_add,
                ticket_nonce=nonce,
                ticket=ticket.identity,
                max_early_data_size=EARLY_DATA_SIZE,
            ),
        )
