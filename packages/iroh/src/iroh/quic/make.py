"""Making connections: ids, transport parameters and TLS of either side, then the parts."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from iroh.quic.address_tokens import TokenGiver
from iroh.quic.api import WebServer
from iroh.quic.config import TransportConfig
from iroh.quic.connection import Connection
from iroh.quic.datagrams import Address
from iroh.quic.own_params import own_params, web_params
from iroh.quic.params import TransportParameters
from iroh.quic.parts import Parts
from iroh.quic.roles import Attempt, Dial, Role
from iroh.quic.shared import Shared
from iroh.quic.tls.handshake import Handshake

if TYPE_CHECKING:
    from iroh.quic.qlog import Qlog
    from iroh.quic.tls.web import WebHandshake

FIRST_DCID_LENGTH = 20
"""Of the id that a client makes up for the server (noq `RandomConnectionIdGenerator`; spec 1)."""


def make_connection(
    *,
    shared: Shared,
    transport: TransportConfig,
    alpns: Sequence[bytes],
    remote: Address,
    local: Address | None,
    now: float,
    role: Role,
) -> Connection:
    """Make one end of a connection; see endpoint.MakeConnection."""
    is_client = not isinstance(role, Attempt)
    source_cid = shared.new_cid()
    params = (web_params if isinstance(role, WebServer) else own_params)(transport, source_cid)
    if isinstance(role, Attempt):
        dest_cid, group = role.client_cid, role.original_destination
        first_id = role.retry_source or role.original_destination
        params.original_destination_connection_id = role.original_destination
        params.retry_source_connection_id = role.retry_source
        params.stateless_reset_token = shared.reset_token(source_cid)
    else:
        dest_cid = group = first_id = shared.rng(FIRST_DCID_LENGTH)
    tls = _make_tls(shared, role, alpns, params.encode(shared.rng), transport.post_quantum)
    parts = Parts(
        is_client=is_client,
        config=transport,
        rng=shared.rng,
        now=now,
        remote=remote,
        local=local,
        source_cid=source_cid,
        dest_cid=dest_cid,
        reset_tokens=shared.reset_tokens,
        tls=tls,
        params=params,
        dropped=shared.dropped,
        original_dcid=first_id,
        validated=isinstance(role, Attempt) and role.validated,
        qlog=_make_qlog(shared, is_client, group, params, now),
    )
    if isinstance(role, Dial):
        parts.token = shared.received_tokens.take(role.peer)
        parts.on_new_token = partial(shared.received_tokens.add, role.peer)
    elif isinstance(role, Attempt) and transport.new_tokens:
        parts.mp.token_giver = TokenGiver(shared.address_tokens)
    return Connection(parts, now)


def _make_tls(
    shared: Shared, role: Role, alpns: Sequence[bytes], params: bytes, post_quantum: bool
) -> "Handshake | WebHandshake":
    if isinstance(role, WebServer):
        from iroh.quic.tls.web import WebHandshake  # late: only net reports need it

        return WebHandshake(role.name, alpns, params, role.trust, shared.rng, shared.keylog)
    is_client = isinstance(role, Dial)
    return Handshake(
        is_client,
        shared.secret_key,
        alpns,
        params,
        shared.rng,
        role.peer if isinstance(role, Dial) else None,
        ticket_store=shared.received_tickets if is_client else shared.issued_tickets,
        keylog=shared.keylog,
        early_data=isinstance(role, Dial) and role.early_data,
        post_quantum=post_quantum,
    )


def _make_qlog(
    shared: Shared, is_client: bool, group: bytes, params: TransportParameters, now: float
) -> "Qlog | None":
    """Make the connection's log; group: the id that tells connections apart. None when off."""
    if shared.qlog is None:
        return None
    from iroh.quic.qlog import Qlog  # late: only who logs needs json

    qlog = Qlog(shared.qlog(group, is_client), is_client, group, now)
    qlog.parameters("local", params)
    return qlog
