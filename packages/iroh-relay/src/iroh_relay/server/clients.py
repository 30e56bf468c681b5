"""Who is connected, and where a packet for an endpoint id goes. No input or output.

For each endpoint id there is one *active* connection, which receives, and a bounded stack of
*inactive* ones, which a newer connection of the same id has displaced:

    event                            active               inactive                told
    first connection                 it                   -
    another connection               it                   + the one before        that: Status 1
    ... and too many inactive        it                   - the oldest, closed
    an inactive one ends             as before            - it
    the active one ends, some left   the newest inactive  - that one              that: Status 0
    the last one ends                entry gone           -                       peers: Gone (8)

Peers are the ids that this id has sent something to. Inactive connections may still send.

Source: iroh-relay `server/clients.rs`; the bounds are ours.
"""

import logging
from collections.abc import Iterator
from typing import Protocol

from iroh_base.keys import PublicKey

from ..protos.forward import contents_len
from ..protos.frames import EndpointGone, Status
from .metrics import RelayMetrics

__all__ = ["Client", "Clients"]

logger: logging.Logger = logging.getLogger(__name__)


class Client(Protocol):
    """A connection as the registry sees it. No method waits."""

    @property
    def endpoint_id(self) -> PublicKey:
        """Whose connection it is."""
        ...

    @property
    def connection_id(self) -> int:
        """Which of that endpoint's connections."""
        ...

    def readdress(self, frame: bytes, /) -> bytes:
        """A frame of this client as its receiver shall see it."""
        ...

    def send_packet(self, frame: bytes, contents: int, /) -> bool:
        """Send datagrams to this client; False if they were dropped."""
        ...

    def send_status(self, code: int) -> None:
        """Tell this client about its connection, in the words of its protocol version."""
        ...

    def send_control(self, frame: bytes, /) -> bool:
        """Send this client a frame that is no packet; False if it was dropped."""
        ...

    def start_shutdown(self) -> None:
        """Make this connection end soon."""
        ...


class _Entry:
    """All connections of one endpoint id, and whom it has sent to (a dict as an ordered set)."""

    __slots__ = ("active", "inactive", "sent_to")

    def __init__(self, active: Client) -> None:
        self.active = active
        self.inactive: list[Client] = []
        self.sent_to: dict[bytes, None] = {}


class Clients:
    """The registry of one relay."""

    def __init__(self, metrics: RelayMetrics, *, max_inactive: int, max_sent_to: int) -> None:
        self._metrics = metrics
        self._max_inactive = max_inactive
        self._max_sent_to = max_sent_to
        self._entries: dict[bytes, _Entry] = {}

    def __len__(self) -> int:
        """How many endpoint ids are connected."""
        return len(self._entries)

    def __contains__(self, endpoint_id: bytes) -> bool:
        """Whether these 32 bytes are the id of somebody connected."""
        return endpoint_id in self._entries

    def connections(self) -> Iterator[Client]:
        """All connections, active and inactive."""
        for entry in self._entries.values():
            yield entry.active
            yield from entry.inactive

    def register(self, client: Client) -> None:
        """Make a connection the active one of its id."""
        key = client.endpoint_id.to_bytes()
        entry = self._entries.get(key)
        if entry is None:
            self._entries[key] = _Entry(client)
            return
        displaced, entry.active = entry.active, client
        entry.inactive.append(displaced)
        self._metrics.clients_inactive_added += 1
        displaced.send_status(Status.SAME_ENDPOINT_ID_CONNECTED)
        if len(entry.inactive) > self._max_inactive:
            self._metrics.inactive_evicted += 1
            self._metrics.clients_inactive_removed += 1
            entry.inactive.pop(0).start_shutdown()

    def unregister(self, client: Client) -> None:
        """Take out a connection that has ended; harmless if it is not in."""
        key = client.endpoint_id.to_bytes()
        entry = self._entries.get(key)
        if entry is None:
            return
        if entry.active is not client:
            if client in entry.inactive:
                entry.inactive.remove(client)
                self._metrics.clients_inactive_removed += 1
        elif entry.inactive:
            entry.active = entry.inactive.pop()
            self._metrics.clients_inactive_removed += 1
            entry.active.send_status(Status.HEALTHY)
        else:
            del self._entries[key]
            self._say_gone(client.endpoint_id, entry)

    def forward(self, source: Client, frame: bytes) -> bool:
        """Pass on a frame that `protos.forward.inspect` found good.

        False if nobody with that id is connected; the caller decides what that means.
        """
        destination = frame[1:33]
        entry = self._entries.get(destination)
        if entry is None:
            return False
        if not entry.active.send_packet(source.readdress(frame), contents_len(frame)):
            self._metrics.send_packets_dropped_full += 1
            return True
        sender = self._entries.get(source.endpoint_id.to_bytes())
        if sender is not None and destination not in sender.sent_to:
            self._remember(sender.sent_to, destination)
        return True

    def disconnect(self, endpoint_id: PublicKey, connection_id: int | None = None) -> bool:
        """End one connection of an endpoint, or all; False if there is none such."""
        entry = self._entries.get(endpoint_id.to_bytes())
        if entry is None:
            return False
        chosen = [
            client
            for client in (entry.active, *entry.inactive)
            if connection_id is None or client.connection_id == connection_id
        ]
        for client in chosen:
            client.start_shutdown()
        return bool(chosen)

    def shutdown(self) -> None:
        """End all connections. Nobody is told that anybody has gone: all are told to go."""
        clients = list(self.connections())
        self._entries.clear()
        for client in clients:
            client.start_shutdown()

    def _remember(self, sent_to: dict[bytes, None], destination: bytes) -> None:
        if len(sent_to) >= self._max_sent_to:
            del sent_to[next(iter(sent_to))]
        sent_to[destination] = None

    def _say_gone(self, endpoint_id: PublicKey, entry: _Entry) -> None:
        frame = EndpointGone(endpoint_id).encode()
        for peer_id in entry.sent_to:
            peer = self._entries.get(peer_id)
            if peer is not None and not peer.active.send_control(frame):
                logger.debug("a busy client was not told that %s left", endpoint_id.fmt_short())
