"""Streams of a connection: halves, windows, limits, whose turn it is (RFC 9000 sections 2 to 4).

map.py        Streams: all of it together, what the connection talks to
send.py       SendHalf        buffer.py     the bytes it holds
recv.py       RecvHalf        fragments.py  its bytes behind a hole
outlet.py     what senders share: credit, memory, turns
intake.py     what receivers share: the window
ids.py        how many streams there may be
control.py    frames other than STREAM
ranges.py     sets of offsets
"""

from iroh.quic.streams.control import Token
from iroh.quic.streams.map import Streams
from iroh.quic.streams.recv import RecvHalf
from iroh.quic.streams.send import SendHalf

__all__ = ["RecvHalf", "SendHalf", "Streams", "Token"]
