"""The engines under test, and what each of them can beyond the seam of `iroh.quic.api`."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from aioquic.tls import Epoch

from aioquic_engine import AioquicConnection, AioquicEndpoint
from iroh.quic.api import Connection, QuicEndpoint, Rng, ServerConfig
from iroh.quic.config import TransportConfig
from iroh.quic.connection import Connection as MultipathConnection
from iroh.quic.datagrams import Address
from iroh.quic.endpoint import Endpoint
from iroh.quic.make import make_connection
from iroh.quic.parts import Parts
from iroh_base import SecretKey

Factory = Callable[[SecretKey, ServerConfig | None, TransportConfig | None, Rng], QuicEndpoint]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What an engine can; None for what it cannot. A test asks before it uses one.

    force_key_update(connection): may do nothing, when it is too early for another one.
    keeps_old_keys: packets on their way survive a key update (RFC 9001 section 6.5). aioquic
        forgets the old keys at once: when its update gets lost, it cannot read what the peer sends
        from a new address either, and both wait until they time out.
    open_path(connection, remote, local, is_backup, now): may refuse by raising QuicError.
    close_path(connection, path_id, code, now): likewise.
    set_path_status(connection, path_id, is_backup): likewise.
    held(connection): bytes of streams that it keeps, written and not acknowledged or arrived and
        not read.
    remembered(endpoint): entries of its tables that should be gone once all connections are.
    bugs: reasons of `QuicEndpoint.dropped` that only a bug of the engine counts.
    server_rebinds: the server's address may change in mid-connection.
    """

    force_key_update: Callable[[Connection], None] | None = None
    keeps_old_keys: bool = True
    open_path: Callable[[Connection, Address, Address | None, bool, float], None] | None = None
    close_path: Callable[[Connection, int, int, float], None] | None = None
    set_path_status: Callable[[Connection, int, bool], None] | None = None
    held: Callable[[Connection], int] | None = None
    remembered: Callable[[QuicEndpoint], int] | None = None
    bugs: tuple[str, ...] = ("internal error",)
    server_rebinds: bool = False


@dataclass(frozen=True, slots=True)
class Engine:
    """A kind of QuicEndpoint: how to make one, and what it can."""

    name: str
    make: Factory
    can: Capabilities = field(default_factory=Capabilities)


# -- aioquic ------------------------------------------------------------------------------------


def _make_aioquic(
    key: SecretKey, server: ServerConfig | None, transport: TransportConfig | None, rng: Rng
) -> QuicEndpoint:
    return AioquicEndpoint(key, server, transport, rng)


_phases: WeakKeyDictionary[Connection, tuple[int, int]] = WeakKeyDictionary()
"""Key phase that was seen last -> the packet number to come then."""


def _update_aioquic_keys(connection: Connection) -> None:
    """Update, or only take note: aioquic leaves it to the caller when it is allowed.

    That is once a packet of the present phase was acknowledged (RFC 9001 section 6.1).
    """
    assert isinstance(connection, AioquicConnection)
    core = connection._core
    if not core._handshake_confirmed:
        return
    phase, since = _phases.get(connection, (0, 0))
    present = core._cryptos[Epoch.ONE_RTT].key_phase
    if phase != present:
        _phases[connection] = (present, core._packet_number)
    elif core._spaces[Epoch.ONE_RTT].largest_acked_packet >= since:
        core.update_keys()


def _held_by_aioquic(connection: Connection) -> int:
    assert isinstance(connection, AioquicConnection)
    return connection._core.budget.held


def _remembered_by_aioquic(endpoint: QuicEndpoint) -> int:
    assert isinstance(endpoint, AioquicEndpoint)
    shared = endpoint._shared
    tables = (shared.routes.by_cid, shared.routes.by_token, shared.half_open, endpoint._waiting)
    return sum(len(table) for table in tables)


AIOQUIC = Engine(
    "aioquic",
    _make_aioquic,
    Capabilities(
        force_key_update=_update_aioquic_keys,
        keeps_old_keys=False,
        held=_held_by_aioquic,
        remembered=_remembered_by_aioquic,
    ),
)

# -- multipath ----------------------------------------------------------------------------------


def _make_multipath(
    key: SecretKey, server: ServerConfig | None, transport: TransportConfig | None, rng: Rng
) -> QuicEndpoint:
    return Endpoint(make_connection, key, server, transport, rng)


def _parts(connection: Connection) -> Parts:
    assert isinstance(connection, MultipathConnection)
    return connection._p


def _update_multipath_keys(connection: Connection) -> None:
    """Update, if the handshake is confirmed and the last update too."""
    parts = _parts(connection)
    if parts.keys is not None and parts.confirmed:
        parts.keys.update()


def _open_multipath(
    connection: Connection, remote: Address, local: Address | None, is_backup: bool, now: float
) -> None:
    _parts(connection).mp.paths.open(remote, local, not is_backup, now)


def _close_multipath(connection: Connection, path_id: int, code: int, now: float) -> None:
    _parts(connection).mp.paths.abandon(path_id, code, now)


def _set_multipath_status(connection: Connection, path_id: int, is_backup: bool) -> None:
    _parts(connection).mp.statuses.set(path_id, not is_backup)


def _held_by_multipath(connection: Connection) -> int:
    return _parts(connection).streams.outlet.held


def _remembered_by_multipath(endpoint: QuicEndpoint) -> int:
    assert isinstance(endpoint, Endpoint)
    return endpoint.remembered()


MULTIPATH = Engine(
    "multipath",
    _make_multipath,
    Capabilities(
        force_key_update=_update_multipath_keys,
        open_path=_open_multipath,
        close_path=_close_multipath,
        set_path_status=_set_multipath_status,
        held=_held_by_multipath,
        remembered=_remembered_by_multipath,
    ),
)

# -- the choice ---------------------------------------------------------------------------------

ENGINES = {engine.name: engine for engine in (AIOQUIC, MULTIPATH)}
PAIRS = os.environ.get(
    "IROH_SIM_PAIRS", "multipath-multipath,multipath-aioquic,aioquic-multipath"
).split(",")
"""Client-server. aioquic with itself is left to its own tests, for the sake of time."""
SEEDS = int(os.environ.get("IROH_SIM_SEEDS", "1"))
EXAMPLES = int(os.environ.get("IROH_SIM_EXAMPLES", "20"))
