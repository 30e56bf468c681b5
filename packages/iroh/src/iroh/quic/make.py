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
    peer: bytes | None,
    original_destination: bytes | None,
    retry_source: bytes | None,
    remote_cid: bytes | None,
    early_data: bool = False,
    web: WebServer | None = None,
    validated: bool = False,
) -> Connection:
    """Make one end of a connection; see endpoint.MakeConnection."""
    is_client = peer is not None or web is not None
    source_cid = shared.new_cid()
    params = (own_params if web is None else web_params)(transport, source_cid)
    if is_client:
        dest_cid = first_id = shared.rng(FIRST_DCID_LENGTH)
    else:
        assert remote_cid is not None
        assert original_destination is not None
        dest_cid = remote_cid
        first_id = retry_source or original_destination
        params.original_destination_connection_id = original_destination
        params.retry_source_connection_id = retry_source
        params.stateless_reset_token = shared.reset_token(source_cid)
    tls = _make_tls(
        *(shared, is_client, alpns, params.encode(shared.rng), peer, early_data, web),
        post_quantum=transport.post_quantum,
    )
    group = original_destination or dest_cid
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
        validated=validated,
        qlog=_make_qlog(shared, is_client, group, params, now),
    )
    if peer is not None:
        parts.token = shared.received_tokens.take(peer)
        parts.on_new_token = partial(shared.received_tokens.add, peer)
    elif not is_client and transport.new_tokens:
        parts.mp.token_giver = TokenGiver(shared.address_tokens)
    return Connection(parts, now)


def _make_tls(
    shared: Shared,
    is_client: bool,
    alpns: Sequence[bytes],
    params: bytes,
    peer: bytes | None,
    early_data: bool,
    web: WebServer | None,
    post_quantum: bool,
) -> "Handshake | WebHandshake":
    if web is not None:
        from iroh.quic.tls.web import WebHandshake  # late: only net reports need it

        return WebHandshake(web.name, alpns, params, web.trust, shared.rng, shared.keylog)
    return Handshake(
        is_client,
        shared.secret_key,
        alpns,
        params,
        shared.rng,
        peer,
        ticket_store=shared.received_tickets if is_client else shared.issued_tickets,
        keylog=shared.keylog,
        early_data=early_data,
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
