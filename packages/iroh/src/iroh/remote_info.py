"""What an endpoint knows of a peer's addresses (iroh `RemoteInfo`)."""

import enum
from dataclasses import dataclass

from iroh.magicsock.remote_addrs import RemoteAddrs, Status
from iroh_base import PublicKey, TransportAddr

__all__ = ["RemoteInfo", "TransportAddrInfo", "TransportAddrUsage"]


class TransportAddrUsage(enum.Enum):
    """Whether an address is in use."""

    ACTIVE = "active"
    """Some connection has an open path to it."""
    INACTIVE = "inactive"
    """None has: it was never tried, or did not work, or is closed again."""


@dataclass(frozen=True, slots=True)
class TransportAddrInfo:
    """One address of a peer."""

    addr: TransportAddr
    usage: TransportAddrUsage


@dataclass(frozen=True, slots=True)
class RemoteInfo:
    """A peer and its addresses, in the order in which they became known."""

    id: PublicKey
    addrs: tuple[TransportAddrInfo, ...]


def remote_info(endpoint_id: PublicKey, known: RemoteAddrs) -> RemoteInfo:
    """Put what magicsock knows in public words."""
    addrs = ((addr, known.get(addr)) for addr in known)
    return RemoteInfo(
        endpoint_id,
        tuple(
            TransportAddrInfo(
                addr,
                TransportAddrUsage.ACTIVE
                if state is not None and state.status is Status.OPEN
                else TransportAddrUsage.INACTIVE,
            )
            for addr, state in addrs
        ),
    )
