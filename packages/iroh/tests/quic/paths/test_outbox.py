"""Outbox: frames wait, go, come back when lost, and are built from the state of the moment."""

from iroh.quic.frames import MaxPathId
from iroh.quic.outbox import Outbox


def make():
    gone = set()

    def build(key):
        return None if key in gone else MaxPathId(key)

    return Outbox(), build, gone


def test_oldest_first_and_only_what_fits():
    box, build, _ = make()
    for key in (3, 1, 2, 3):
        box.add(key)
    size = len(MaxPathId(1).encode())
    assert box.take(2 * size, build) == [(MaxPathId(3), 3), (MaxPathId(1), 1)]
    assert box.take(size - 1, build) == []
    assert box.take(size, build) == [(MaxPathId(2), 2)]
    assert not box.pending
    assert len(box) == 3


def test_lost_frames_wait_again_and_acknowledged_ones_do_not():
    box, build, _ = make()
    box.add(1)
    box.add(2)
    box.take(100, build)
    box.on_lost(1)
    box.on_acked(2)
    box.on_lost(2)  # another copy of it arrived
    assert box.take(100, build) == [(MaxPathId(1), 1)]
    box.on_acked(1)
    assert len(box) == 0
    assert 1 not in box


def test_what_nobody_needs_any_more_is_dropped():
    box, build, gone = make()
    box.add(1)
    box.add(2)
    gone.add(1)
    assert box.take(100, build) == [(MaxPathId(2), 2)]
    box.on_lost(2)
    gone.add(2)
    assert box.take(100, build) == []
    assert len(box) == 0


def test_one_of_them_by_its_key():
    box, build, gone = make()
    box.add(1)
    box.add(2)
    gone.add(2)
    assert box.is_pending(1)
    assert box.take_one(1, build) == MaxPathId(1)
    assert box.take_one(1, build) is None
    assert box.take_one(2, build) is None
    assert 1 in box
    assert not box.pending
