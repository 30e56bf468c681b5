"""Frames as qlog shows them (draft-ietf-quic-qlog-quic-events-13 section 8.13): no contents."""

from typing import Any

from iroh.quic import frames as f

_FIELDS = {
    "limit": "maximum",
    "cid": "connection_id",
    "code": "error_code",
    "seq": "sequence_number",
    "count": "maximum",
}
"""Our name of a field -> the schema's, where they differ."""


def describe(frame: f.Frame) -> dict[str, Any]:
    """Give a frame's object."""
    if isinstance(frame, f.Stream):
        return {
            "frame_type": "stream",
            "stream_id": frame.stream_id,
            "offset": frame.offset,
            "fin": frame.fin,
            "raw": {"payload_length": len(frame.data)},
        }
    if isinstance(frame, f.Ack):
        return _ack(frame)
    if isinstance(frame, f.Crypto):
        size = {"payload_length": len(frame.data)}
        return {"frame_type": "crypto", "offset": frame.offset, "raw": size}
    if isinstance(frame, f.Datagram):
        return {"frame_type": "datagram", "raw": {"payload_length": len(frame.data)}}
    if isinstance(frame, f.Padding):
        return {"frame_type": "padding", "raw": {"payload_length": frame.length}}
    if isinstance(frame, f.ConnectionClose):
        return _close(frame)
    return _generic(frame)


def _ack(frame: f.Ack) -> dict[str, Any]:
    """Give an ACK, and a PATH_ACK too, so that tools find it: with its path_id."""
    data: dict[str, Any] = {
        "frame_type": "ack",
        "ack_delay": (frame.delay << 3) / 1000,  # in the default exponent, which iroh keeps
        "acked_ranges": [list(pair) for pair in reversed(frame.ranges)],
    }
    if frame.path_id is not None:
        data["path_id"] = frame.path_id
    if frame.ecn is not None:
        data["ect0"], data["ect1"], data["ce"] = frame.ecn
    return data


def _close(frame: f.ConnectionClose) -> dict[str, Any]:
    data: dict[str, Any] = {
        "frame_type": "connection_close",
        "error_space": "application" if frame.frame_type is None else "transport",
        "error": "unknown",
        "error_code": frame.code,
        "reason": bytes(frame.reason).decode("utf-8", "replace"),
    }
    if frame.frame_type is not None:
        data["trigger_frame_type"] = frame.frame_type
    return data


def _generic(frame: f.Frame) -> dict[str, Any]:
    data: dict[str, Any] = {"frame_type": _snake(type(frame).__name__)}
    for name, value in frame.named().items():
        if value is None or (name == "token" and isinstance(frame, f.NewConnectionId)):
            continue  # whoever reads a reset token could end the connection
        if name == "bidirectional":
            data["stream_type"] = "bidirectional" if value else "unidirectional"
        elif isinstance(value, bytes):
            data[_FIELDS.get(name, name)] = value.hex()
        else:
            is_plain = isinstance(value, int | str)
            data[_FIELDS.get(name, name)] = value if is_plain else str(value)
    return data


def _snake(name: str) -> str:
    """PathCidsBlocked -> path_cids_blocked."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
