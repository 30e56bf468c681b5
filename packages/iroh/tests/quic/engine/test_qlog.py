"""What a connection writes to its qlog."""

import json
import random
from collections import Counter
from typing import Any

import pytest
from engine_kit import ALPN, CLIENT_ADDR, SERVER_ADDR, End, Wire

from iroh.quic import frames as f
from iroh.quic.errors import PeerError, Reset, TimedOut, TransportError, VersionMismatch
from iroh.quic.frames import ONE_RTT
from iroh.quic.path_events import AbandonReason, PathAbandoned, PathClosed, PathEstablished
from iroh.quic.qlog import FLUSH_AT, Qlog
from iroh.quic.qlog_frames import describe
from iroh_base import SocketAddr


class Logs:
    """A factory of sinks that keeps what they get."""

    def __init__(self) -> None:
        self.logs: dict[tuple[bytes, bool], bytearray] = {}

    def __call__(self, first_id: bytes, is_client: bool) -> Any:
        return self.logs.setdefault((first_id, is_client), bytearray()).extend

    def records(self, is_client: bool) -> list[dict[str, Any]]:
        ((_, log),) = [item for item in self.logs.items() if item[0][1] == is_client]
        assert log[:1] == b"\x1e"
        records = bytes(log).split(b"\x1e")[1:]
        assert all(record.endswith(b"\n") for record in records)
        return [json.loads(record) for record in records]


def named(records: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [record["data"] for record in records if record.get("name") == name]


def life(logs: Logs) -> tuple[Wire, End]:
    """A connection with everything: data, losses, datagrams, key updates, a close."""
    wire = Wire(qlog=logs)
    client, server = wire.meet()
    rng = random.Random(4)
    client.parts.update_after = 100
    wire.passes = lambda _is_client, _datagrams: rng.random() > 0.1
    stream_id = client.send(bytes(300_000))
    client.connection.send_datagram(b"datagram")
    wire.run(lambda: stream_id in server.ended)
    wire.passes = lambda _is_client, _datagrams: True
    client.connection.close(7, b"done", wire.now)
    wire.run(seconds=3)
    return wire, client


def test_the_life_of_a_connection():
    logs = Logs()
    wire, client = life(logs)
    assert {first_id for first_id, _ in logs.logs} == {client.parts.original_dcid}
    for is_client in (True, False):
        head, *records = logs.records(is_client)
        assert head["file_schema"] == "urn:ietf:params:qlog:file:sequential"
        assert head["trace"]["vantage_point"]["type"] == ("client" if is_client else "server")
        assert head["trace"]["common_fields"]["group_id"] == client.parts.original_dcid.hex()
        times = [record["time"] for record in records]
        assert times == sorted(times)
        assert 0 <= times[0] < times[-1] < 20_000
        (started,) = named(records, "quic:connection_started")
        far = SERVER_ADDR if is_client else CLIENT_ADDR
        assert started["remote"]["ip_v4"] == far.ip
        assert len(named(records, "quic:parameters_set")) == 2
        (alpn,) = named(records, "quic:alpn_information")
        assert alpn["chosen_alpn"]["byte_value"] == ALPN.hex()
        (closed,) = named(records, "quic:connection_closed")
        assert closed["initiator"] == ("local" if is_client else "remote")
        assert (closed["error_code"], closed["reason"]) == (7, "done")
        updates = named(records, "quic:key_updated")
        trigger = "local_update" if is_client else "remote_update"
        assert updates
        assert {update["trigger"] for update in updates} == {trigger}
        assert named(records, "quic:recovery_metrics_updated")
        assert [record["name"] for record in records][-1] == "quic:connection_state_updated"
    lost = named(logs.records(True), "quic:packet_lost")
    assert len(lost) == client.connection.stats().lost_packets > 0
    assert wire.server.dropped == wire.client.dropped


def test_every_packet_of_one_end_is_found_at_the_other():
    logs = Logs()
    wire = Wire(qlog=logs)
    client, server = wire.meet()
    stream_id = client.send(bytes(100_000))
    wire.run(lambda: stream_id in server.ended)
    wire.run(seconds=0.5)
    for is_client in (True, False):
        sent = Counter(map(_number, named(logs.records(is_client), "quic:packet_sent")))
        received = Counter(map(_number, named(logs.records(not is_client), "quic:packet_received")))
        assert received == sent
        assert {kind for kind, _ in sent} == {"initial", "handshake", "1RTT"}
    bytes_sent = sum(
        frame["raw"]["payload_length"]
        for packet in named(logs.records(True), "quic:packet_sent")
        for frame in packet["frames"]
        if frame["frame_type"] == "stream"
    )
    assert bytes_sent == 100_000
    sizes = sum(packet["raw"]["length"] for packet in named(logs.records(True), "quic:packet_sent"))
    assert sizes == client.connection.stats().udp_tx_bytes


def _number(packet: dict[str, Any]) -> tuple[str, int]:
    return packet["header"]["packet_type"], packet["header"]["packet_number"]


def test_no_contents_and_no_tokens():
    logs = Logs()
    wire = Wire(qlog=logs)
    client, server = wire.meet()
    stream_id = client.send(b"secret contents")
    wire.run(lambda: stream_id in server.ended)
    text = b"".join(logs.logs.values())
    assert b"secret" not in text
    assert b"secret".hex().encode() not in text
    tokens = [change.hex().encode() for change in wire.client.routes.by_token]
    assert tokens
    assert not any(token in text for token in tokens)


def test_without_a_log():
    wire = Wire()
    client, _ = wire.meet()
    assert client.parts.qlog is None
    assert all(path.recovery.log is None for path in client.parts.paths.all())


def sink() -> tuple[Qlog, list[bytes]]:
    got: list[bytes] = []
    return Qlog(got.append, True, b"id", 5.0), got


def last(got: list[bytes]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(b"".join(got).split(b"\x1e")[-1])
    return found


def test_records_are_held_back_for_a_while():
    log, got = sink()
    log.add("x", {})
    assert not got
    log.add("x", {"long": "x" * FLUSH_AT})
    assert len(got) == 1
    log.flush()
    assert len(got) == 1


@pytest.mark.parametrize(
    ("reason", "data"),
    [
        (TimedOut(), {"trigger": "idle_timeout"}),
        (Reset(), {"trigger": "stateless_reset"}),
        (VersionMismatch(), {"trigger": "version_mismatch"}),
        (
            TransportError(0xA, "why"),
            {
                "initiator": "local",
                "connection_error": "protocol_violation",
                "reason": "why",
                "trigger": "error",
            },
        ),
        (
            TransportError(0x128, ""),
            {
                "initiator": "local",
                "connection_error": "crypto_error_0x128",
                "reason": "",
                "trigger": "error",
            },
        ),
        (
            TransportError(0x999, ""),
            {
                "initiator": "local",
                "connection_error": "unknown",
                "error_code": 0x999,
                "reason": "",
                "trigger": "error",
            },
        ),
    ],
)
def test_the_end(reason, data):
    log, got = sink()
    log.closed(reason)
    log.flush()
    assert last(got)["data"] == data


def test_paths():
    log, got = sink()
    log.now = 6.0
    remote = SocketAddr("2001:db8::1", 9)
    log.on_events([PathEstablished(3, remote)])
    assert last(got) == {
        "time": 1000.0,
        "name": "quic:tuple_assigned",
        "tuple": "3",
        "data": {"tuple_id": "3", "tuple_remote": {"ip_v6": "2001:db8::1", "port_v6": 9}},
    }
    log.on_events([PathAbandoned(3, "opaque", AbandonReason.TIMED_OUT, 0x3E76)])
    assert last(got)["data"] == {"reason": "timed out", "code": 0x3E76}
    log.on_events([PathClosed(3, remote)])
    assert last(got)["name"] == "iroh:path_closed"


def test_a_packet_that_breaks_the_protocol_is_logged_too():
    log, got = sink()
    with pytest.raises(PeerError):
        f.decode_payload(b"\x21", ONE_RTT)
    log.space(ONE_RTT, 2).received([(9, b"\x21")], 6.0)
    log.flush()
    assert last(got)["data"]["header"] == {"packet_type": "1RTT", "packet_number": 9}
    assert last(got)["data"]["frames"] == []


ADDR = SocketAddr("192.0.2.9", 9)


@pytest.mark.parametrize(
    ("frame", "data"),
    [
        (f.Ping(), {"frame_type": "ping"}),
        (f.Padding(7), {"frame_type": "padding", "raw": {"payload_length": 7}}),
        (
            f.Ack([(5, 9), (1, 2)], 125, 3, (1, 2, 3)),
            {
                "frame_type": "ack",
                "ack_delay": 1.0,
                "acked_ranges": [[1, 2], [5, 9]],
                "path_id": 3,
                "ect0": 1,
                "ect1": 2,
                "ce": 3,
            },
        ),
        (f.MaxData(8), {"frame_type": "max_data", "maximum": 8}),
        (
            f.MaxStreams(True, 8),
            {"frame_type": "max_streams", "stream_type": "bidirectional", "maximum": 8},
        ),
        (
            f.NewConnectionId(1, 0, b"cid", bytes(16), 4),
            {
                "frame_type": "new_connection_id",
                "connection_id": "636964",
                "path_id": 4,
                "retire_prior_to": 0,
                "sequence_number": 1,
            },
        ),
        (
            f.ConnectionClose(0xA, b"why", 6),
            {
                "frame_type": "connection_close",
                "error_space": "transport",
                "error": "unknown",
                "error_code": 0xA,
                "reason": "why",
                "trigger_frame_type": 6,
            },
        ),
        (
            f.PathAbandon(2, 9),
            {"frame_type": "path_abandon", "path_id": 2, "error_code": 9},
        ),
        (
            f.AddAddress(1, ADDR),
            {"frame_type": "add_address", "number": 1, "addr": "192.0.2.9:9"},
        ),
        (
            f.PathChallenge(b"12345678"),
            {"frame_type": "path_challenge", "data": "3132333435363738"},
        ),
    ],
)
def test_frames(frame, data):
    assert describe(frame) == data
    json.dumps(describe(frame))
