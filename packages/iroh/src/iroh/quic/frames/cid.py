"""Connection ids (RFC 9000 19.15, 19.16; draft-ietf-quic-multipath 4.4, 4.5).

NEW_CONNECTION_ID          0x18           | seq | retire prior to | len 1 | id | reset token 16
PATH_NEW_CONNECTION_ID     0x3e78 | path  | the same
RETIRE_CONNECTION_ID       0x19           | seq
PATH_RETIRE_CONNECTION_ID  0x3e79 | path  | seq
"""

from typing import ClassVar, Self

from iroh.quic import varint
from iroh.quic.frames.base import SPACES_APP, Frame, malformed, take
from iroh.quic.varint import Buffer

MAX_CID_LENGTH = 20  # RFC 9000 section 17.2
TOKEN_LENGTH = 16
_USUAL_LENGTH = 4 + 8 + TOKEN_LENGTH
"""Of PATH_NEW_CONNECTION_ID behind its type, with numbers below 64 and an id of 8 bytes."""
_NEW, _PATH_NEW, _RETIRE, _PATH_RETIRE = 0x18, 0x3E78, 0x19, 0x3E79


def decode_path_id(buf: Buffer, at: int, kind: int) -> tuple[int, int]:
    """Decode a path id, which has at most 32 bits. Raises PeerError."""
    path_id, at = varint.decode(buf, at)
    if path_id > 0xFFFFFFFF:
        raise malformed("a path id has at most 32 bits", kind)
    return path_id, at


def new_cid_start(seq: int, retire_prior_to: int, length: int, path_id: int | None) -> bytes:
    """Encode what stands before the id. length: of the id; path_id: None for the plain form."""
    if path_id is not None and path_id < 64 and seq < 64 and retire_prior_to < 64:
        return bytes((0x7E, 0x78, path_id, seq, retire_prior_to, length))
    encode = varint.encode
    kind = encode(_NEW) if path_id is None else encode(_PATH_NEW) + encode(path_id)
    return b"".join((kind, encode(seq), encode(retire_prior_to), bytes((length,))))


class NewConnectionId(Frame):
    """One more id to address us by. path_id: None in the plain form, which means path 0."""

    __slots__ = ("cid", "path_id", "retire_prior_to", "seq", "token")
    TYPES: ClassVar[tuple[int, ...]] = (_NEW, _PATH_NEW)
    PROBING: ClassVar[bool] = True
    SPACES = SPACES_APP

    def __init__(
        self, seq: int, retire_prior_to: int, cid: bytes, token: bytes, path_id: int | None = None
    ) -> None:
        self.seq: int = seq
        self.retire_prior_to: int = retire_prior_to
        self.cid: bytes = cid
        self.token: bytes = token
        self.path_id: int | None = path_id

    def encode(self) -> bytes:
        """Return the frame's bytes."""
        start = new_cid_start(self.seq, self.retire_prior_to, len(self.cid), self.path_id)
        return b"".join((start, self.cid, self.token))

    @classmethod
    def decode(cls, kind: int, buf: Buffer, at: int, end: int) -> tuple[Self, int]:
        """Decode what stands behind the type. Raises PeerError."""
        path_id = None
        if kind == _PATH_NEW:
            stop = at + _USUAL_LENGTH
            if (
                stop <= end
                and buf[at] < 64
                and buf[at + 2] <= buf[at + 1] < 64
                and buf[at + 3] == 8
            ):
                cid, token = bytes(buf[at + 4 : at + 12]), bytes(buf[at + 12 : stop])
                return cls(buf[at + 1], buf[at + 2], cid, token, buf[at]), stop
            path_id, at = decode_path_id(buf, at, kind)
        seq, at = varint.decode(buf, at)
        retire_prior_to, at = varint.decode(buf, at)
        (length,), at = take(buf, at, 1, end, kind)
        if not 1 <= length <= MAX_CID_LENGTH:
            raise malformed("a connection id has 1 to 20 bytes", kind)
        if retire_prior_to > seq:
            raise malformed("a connection id that retires itself", kind)
        cid, at = take(buf, at, length, end, kind)
        token, at = take(buf, at, TOKEN_LENGTH, end, kind)
        return cls(seq, retire_prior_to, cid, token, path_id), at


class RetireConnectionId(Frame):
    """An id of the peer's that we use no more."""

    __slots__ = ("path_id", "seq")
    TYPES: ClassVar[tuple[int, ...]] = (_RETIRE, _PATH_RETIRE)
    SPACES = SPACES_APP

    def __init__(self, seq: int, path_id: int | None = None) -> None:
        self.seq: int = seq
        self.path_id: int | None = path_id

    def encode(self) -> bytes:
        """Return the frame's bytes."""
        encode = varint.encode
        if self.path_id is None:
            return encode(_RETIRE) + encode(self.seq)
        return b"".join((encode(_PATH_RETIRE), encode(self.path_id), encode(self.seq)))

    @classmethod
    def decode(cls, kind: int, buf: Buffer, at: int, end: int) -> tuple[Self, int]:
        """Decode what stands behind the type. Raises PeerError."""
        path_id = None
        if kind == _PATH_RETIRE:
            path_id, at = decode_path_id(buf, at, kind)
        seq, at = varint.decode(buf, at)
        return cls(seq, path_id), at
