"""qlog: what a connection did, as records for a person with a tool such as qvis.

    | 1e | {"file_schema": ..., "trace": {...}}    0a |    once
    | 1e | {"time": ms, "name": ..., "data": ...}  0a |    every event

JSON text sequences (RFC 7464), schema of draft-ietf-quic-qlog-main-schema-13, events of
draft-ietf-quic-qlog-quic-events-13. Each event belongs to a path: its `tuple` is the path id. Two
events are ours: iroh:path_abandoned and iroh:path_closed. Frames of extensions, for which there is
no schema yet, have the names and fields that they have in `iroh.quic.frames`.

A connection that is not logged has no Qlog, and its spaces have no PacketLog: that is all it costs.
"""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from iroh.quic import errors as e
from iroh.quic import path_events as pe
from iroh.quic.datagrams import Address
from iroh.quic.events import Drained, Event
from iroh.quic.frames import HANDSHAKE, INITIAL, ONE_RTT, ZERO_RTT, decode_payload
from iroh.quic.qlog_frames import describe
from iroh_base import SocketAddr

if TYPE_CHECKING:
    from iroh.quic.params import TransportParameters
    from iroh.quic.path_recovery import PathRecovery
    from iroh.quic.sent import SentRun

Sink = Callable[[bytes], None]
"""Takes whole records, one or many."""
QlogFactory = Callable[[bytes, bool], Sink]
"""(id that the client's first packet went to, is_client) -> where a new connection is logged."""

FLUSH_AT = 64_000
"""Bytes of records that are held back at the most."""
PACKET_TYPES = {INITIAL: "initial", HANDSHAKE: "handshake", ZERO_RTT: "0RTT", ONE_RTT: "1RTT"}
_ERRORS = (
    *("no_error", "internal_error", "connection_refused", "flow_control_error"),
    *("stream_limit_error", "stream_state_error", "final_size_error", "frame_encoding_error"),
    *("transport_parameter_error", "connection_id_limit_error", "protocol_violation"),
    *("invalid_token", "application_error", "crypto_buffer_exceeded", "key_update_error"),
    *("aead_limit_reached", "no_viable_path"),
)


_LEFT_OUT = frozenset(
    (
        *("stateless_reset_token", "preferred_address"),  # who knows it could end the connection
        *("initial_max_path_id", "max_nat_traversal_addresses"),
        *("min_ack_delay", "observed_address_role"),
    )
)
"""Parameters that are no logger's business, or of extensions that the schema does not know."""


class Qlog:
    """The log of one connection. now: the clock when something was noted last, seconds."""

    __slots__ = ("_held", "_metrics", "_mtu", "_sink", "_size", "_start", "now")

    def __init__(self, sink: Sink, is_client: bool, first_id: bytes, now: float) -> None:
        self.now: float = now
        self._start = now
        self._sink = sink
        self._held: list[bytes] = []
        self._size = 0
        self._metrics: dict[int, dict[str, float]] = {}
        self._mtu: dict[int, int] = {}
        self._record(
            {
                "file_schema": "urn:ietf:params:qlog:file:sequential",
                "serialization_format": "application/qlog+json-seq",
                "trace": {
                    "common_fields": {
                        "group_id": first_id.hex(),
                        "time_format": "relative_to_epoch",
                        "reference_time": {"clock_type": "monotonic", "epoch": "unknown"},
                    },
                    "vantage_point": {"type": "client" if is_client else "server"},
                    "event_schemas": ["urn:ietf:params:qlog:events:quic-13"],
                },
            }
        )

    def add(self, name: str, data: dict[str, Any], path_id: int | None = None) -> None:
        """Note an event that happens now."""
        record: dict[str, Any] = {"time": round((self.now - self._start) * 1000, 3), "name": name}
        if path_id is not None:
            record["tuple"] = str(path_id)
        record["data"] = data
        self._record(record)

    def _record(self, record: dict[str, Any]) -> None:
        data = b"\x1e" + json.dumps(record, separators=(",", ":")).encode() + b"\n"
        self._held.append(data)
        self._size += len(data)
        if self._size >= FLUSH_AT:
            self.flush()

    def flush(self) -> None:
        """Give the sink what is held back."""
        if self._held:
            self._sink(b"".join(self._held))
            self._held.clear()
            self._size = 0

    def space(self, epoch: int, path_id: int = 0) -> "PacketLog":
        """Give the log of a packet-number space."""
        return PacketLog(self, epoch, path_id)

    # -- the connection ------------------------------------------------------------------------

    def started(
        self, remote: Address, local: Address | None, source_cid: bytes, dest_cid: bytes
    ) -> None:
        """The first packet is about to be sent, or was received."""
        sides = {"local": (local, source_cid), "remote": (remote, dest_cid)}
        data = {
            side: {**_endpoint(address), "connection_ids": [cid.hex()]}
            for side, (address, cid) in sides.items()
        }
        self.add("quic:connection_started", data)

    def parameters(self, initiator: str, params: "TransportParameters") -> None:
        """Transport parameters of one side ("local", "remote") are known."""
        data: dict[str, Any] = {"initiator": initiator}
        for name in params.NAMES:
            value = getattr(params, name)
            if value is None or name in _LEFT_OUT:
                continue
            data[name] = value.hex() if isinstance(value, bytes) else value
        self.add("quic:parameters_set", data)

    def alpn(self, alpn: bytes) -> None:
        """The ALPN is settled."""
        self.add("quic:alpn_information", {"chosen_alpn": {"byte_value": alpn.hex()}})

    def key_updated(self, phase: int, trigger: str) -> None:
        """Both directions use new keys: trigger is "local_update" or "remote_update"."""
        for key_type in ("client_1rtt_secret", "server_1rtt_secret"):
            data = {"key_type": key_type, "key_phase": phase, "trigger": trigger}
            self.add("quic:key_updated", data)

    def dropped(self, reason: str, count: int) -> None:
        """Packets were dropped."""
        data = {"trigger": "general", "details": {"reason": reason, "count": count}}
        self.add("quic:packet_dropped", data)

    def closed(self, reason: e.CloseReason) -> None:
        """The connection ends."""
        self.add("quic:connection_closed", _closed(reason))

    def on_events(self, events: list[Event]) -> None:
        """Note what happened to paths, and pass everything on that is held back."""
        for event in events:
            if isinstance(event, pe.PathEstablished | pe.PathMoved):
                data = {"tuple_id": str(event.path_id), "tuple_remote": _endpoint(event.remote)}
                self.add("quic:tuple_assigned", data, event.path_id)
            elif isinstance(event, pe.PathAbandoned):
                why = {"reason": event.reason.value, "code": event.code}
                self.add("iroh:path_abandoned", why, event.path_id)
            elif isinstance(event, pe.PathClosed):
                self.add("iroh:path_closed", {}, event.path_id)
            elif isinstance(event, Drained):
                self.add("quic:connection_state_updated", {"new": "closed"})
        self.flush()

    # -- recovery ------------------------------------------------------------------------------

    def metrics(self, path_id: int, path: "PathRecovery") -> None:
        """Note those of a path's figures that changed."""
        rtt, congestion = path.rtt, path.congestion
        present: dict[str, float] = {
            "min_rtt": round(rtt.minimum * 1000, 3),
            "smoothed_rtt": round(rtt.smoothed * 1000, 3),
            "latest_rtt": round(rtt.latest * 1000, 3),
            "rtt_variance": round(rtt.variation * 1000, 3),
            "pto_count": path.pto_count,
            "congestion_window": int(congestion.window),
            "bytes_in_flight": path.bytes_in_flight,
        }
        if congestion.ssthresh < 1 << 60:
            present["ssthresh"] = int(congestion.ssthresh)
        before = self._metrics.get(path_id, {})
        changed = {name: value for name, value in present.items() if before.get(name) != value}
        if changed:
            self._metrics[path_id] = present
            self.add("quic:recovery_metrics_updated", changed, path_id)
        mtu = path.mtud.mtu
        if self._mtu.get(path_id) != mtu:
            old = {"old": self._mtu[path_id]} if path_id in self._mtu else {}
            self._mtu[path_id] = mtu
            self.add("quic:mtu_updated", {**old, "new": mtu}, path_id)


class PacketLog:
    """What happens to the packets of one packet-number space. epoch: of `iroh.quic.frames`."""

    __slots__ = ("_epoch", "_path_id", "_qlog", "_type")

    def __init__(self, qlog: Qlog, epoch: int, path_id: int = 0) -> None:
        self._qlog = qlog
        self._epoch = epoch
        self._type = PACKET_TYPES[epoch]
        self._path_id = path_id

    def sent(self, first: int, payloads: list[bytes], overhead: int, now: float) -> None:
        """Packets with consecutive numbers were sealed: their payloads, and the bytes around."""
        self._qlog.now = now
        for pn, payload in enumerate(payloads, first):
            self._packet("quic:packet_sent", self._epoch, pn, payload, overhead)

    def sent_early(self, first: int, payloads: list[bytes], overhead: int, now: float) -> None:
        """The same of 0-RTT packets, which share the packet numbers of path 0."""
        self._qlog.now = now
        for pn, payload in enumerate(payloads, first):
            self._packet("quic:packet_sent", ZERO_RTT, pn, payload, overhead)

    def received(self, opened: list[tuple[int, bytes]], now: float, epoch: int = -1) -> None:
        """Packets were opened. epoch: if it is not the space's own."""
        self._qlog.now = now
        for pn, payload in opened:
            kind = self._epoch if epoch < 0 else epoch
            self._packet("quic:packet_received", kind, pn, payload, 0)

    def _packet(self, name: str, epoch: int, pn: int, payload: bytes, overhead: int) -> None:
        try:
            frames = [describe(frame) for frame in decode_payload(payload, epoch)]
        except e.PeerError:
            frames = []  # received, and about to close the connection
        raw = {"payload_length": len(payload)}
        if overhead:
            raw["length"] = len(payload) + overhead
        header = {"packet_type": PACKET_TYPES[epoch], "packet_number": pn}
        self._qlog.add(name, {"header": header, "raw": raw, "frames": frames}, self._path_id)

    def lost(self, runs: "list[SentRun]", path: "PathRecovery", now: float) -> None:
        """Packets are lost."""
        self._qlog.now = now
        for run in runs:
            for pn in range(run.first, run.last + 1):
                header = {"packet_type": self._type, "packet_number": pn}
                data: dict[str, Any] = {"header": header}
                if run.mtu_probe:
                    data["is_mtu_probe_packet"] = True
                self._qlog.add("quic:packet_lost", data, self._path_id)
        self._qlog.metrics(self._path_id, path)

    def metrics(self, path: "PathRecovery", now: float) -> None:
        """An ACK was taken."""
        self._qlog.now = now
        self._qlog.metrics(self._path_id, path)


def _endpoint(address: Address | None) -> dict[str, Any]:
    """Give a TupleEndpointInfo; what is no IP address stays out."""
    if not isinstance(address, SocketAddr):
        return {}
    version = "v4" if address.is_ipv4 else "v6"
    return {f"ip_{version}": address.ip, f"port_{version}": address.port}


def _closed(reason: e.CloseReason) -> dict[str, Any]:
    if isinstance(reason, e.LocallyClosed | e.ApplicationClosed):
        is_local = isinstance(reason, e.LocallyClosed)
        return {
            "initiator": "local" if is_local else "remote",
            "application_error": "unknown",
            "error_code": reason.code,
            "reason": reason.reason.decode("utf-8", "replace"),
            "trigger": "application",
        }
    if isinstance(reason, e.TransportError | e.ConnectionClosed):
        is_local = isinstance(reason, e.TransportError)
        text = reason.reason
        return {
            "initiator": "local" if is_local else "remote",
            **_error(reason.code),
            "reason": text if isinstance(text, str) else text.decode("utf-8", "replace"),
            "trigger": "error" if is_local else "aborted",
        }
    triggers = {
        e.TimedOut: "idle_timeout",
        e.Reset: "stateless_reset",
        e.VersionMismatch: "version_mismatch",
    }
    return {"trigger": triggers.get(type(reason), "unspecified")}


def _error(code: int) -> dict[str, Any]:
    if code < len(_ERRORS):
        return {"connection_error": _ERRORS[code]}
    if e.CRYPTO_ERROR_BASE <= code < e.CRYPTO_ERROR_BASE + 0x100:
        return {"connection_error": f"crypto_error_{code:#x}"}
    return {"connection_error": "unknown", "error_code": code}
