"""Our own connection ids: numbering, limits, both frame forms, retirement by the peer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paths_kit import rng_of, token_of, tokens_of

from iroh.quic.errors import PROTOCOL_VIOLATION, PeerError
from iroh.quic.frames import ONE_RTT, NewConnectionId, RetireConnectionId, decode_payload
from iroh.quic.local_cids import CID_LENGTH, MAX_ISSUED, CidChange, LocalCids

BUDGET = 10_000


def make(limit=5, multipath=True):
    cids = LocalCids(b"handshake", tokens_of, rng_of(1))
    cids.set_peer_limit(limit)
    cids.multipath = multipath
    return cids


def frames(cids, budget=BUDGET):
    return [f for data, _ in cids.take_frames(0.0, budget) for f in decode_payload(data, ONE_RTT)]


def test_path_0_starts_with_the_id_of_the_handshake():
    cids = make()
    assert cids.take_changes() == [CidChange(True, b"handshake", 0)]
    cids.issue(0)
    sent = frames(cids)
    assert [(f.path_id, f.seq, f.retire_prior_to) for f in sent] == [(0, n, 0) for n in range(1, 5)]
    assert all(len(f.cid) == CID_LENGTH and f.token == token_of(f.cid) for f in sent)
    assert cids.take_changes() == [CidChange(True, f.cid, 0) for f in sent]


def test_other_paths_start_at_0():
    cids = make()
    cids.open(3)
    assert [(f.path_id, f.seq) for f in frames(cids)] == [(3, n) for n in range(5)]


def test_the_plain_form_before_multipath_is_settled():
    cids = make(multipath=False)
    cids.issue(0)
    assert [f.path_id for f in frames(cids)] == [None] * 4
    token = [(0, 2)]
    cids.multipath = True
    cids.on_lost(token)
    assert [(f.path_id, f.seq) for f in frames(cids)] == [(0, 2)]


@pytest.mark.parametrize(("limit", "issued"), [(2, 2), (5, 5), (12, 12), (2**62 - 1, MAX_ISSUED)])
def test_as_many_as_the_peer_takes_but_never_more_than_twelve(limit, issued):
    cids = make(limit)
    cids.open(1)
    cids.open(1)
    assert len(frames(cids)) == issued


def test_frames_that_do_not_fit_wait():
    cids = make()
    cids.open(1)
    size = len(NewConnectionId(1, 0, bytes(8), bytes(16), 1).encode())
    assert len(frames(cids, 2 * size + 1)) == 2
    assert [f.seq for f in frames(cids)] == [2, 3, 4]


def test_a_retired_id_is_forgotten_and_replaced():
    cids = make()
    cids.open(1)
    sent = frames(cids)
    cids.take_changes()
    cids.on_retire(RetireConnectionId(2, 1))
    (new,) = frames(cids)
    assert new.seq == 5
    assert cids.take_changes() == [CidChange(False, sent[2].cid, 1), CidChange(True, new.cid, 1)]
    cids.on_retire(RetireConnectionId(2, 1))  # a copy of the frame
    assert frames(cids) == []


def test_a_lost_frame_of_a_retired_id_is_not_sent_again():
    cids = make()
    cids.open(1)
    taken = cids.take_frames(0.0, BUDGET)
    cids.on_retire(RetireConnectionId(0, 1))
    for _, token in taken:
        cids.on_lost(token)
    assert [f.seq for f in frames(cids)] == [5, 1, 2, 3, 4]


@pytest.mark.parametrize("frame", [RetireConnectionId(5, 1), RetireConnectionId(0, 2)])
def test_retiring_what_was_not_issued(frame):
    cids = make()
    cids.open(1)
    frames(cids)
    with pytest.raises(PeerError) as error:
        cids.on_retire(frame)
    assert error.value.code == PROTOCOL_VIOLATION
    assert error.value.frame_type == 0x3E79


def test_retiring_what_was_made_but_never_sent():
    cids = make()
    cids.open(1)
    with pytest.raises(PeerError):
        cids.on_retire(RetireConnectionId(0, 1))


def test_the_path_form_without_multipath():
    cids = make(multipath=False)
    with pytest.raises(PeerError) as error:
        cids.on_retire(RetireConnectionId(0, 0))
    assert error.value.code == PROTOCOL_VIOLATION
    cids.on_retire(RetireConnectionId(0))
    assert cids.cids(0) != [b"handshake"]


def test_an_abandoned_path_gets_no_more_and_a_closed_one_has_none():
    cids = make()
    cids.open(1)
    sent = frames(cids)
    cids.stop(1)
    cids.on_retire(RetireConnectionId(0, 1))
    assert frames(cids) == []
    assert len(cids.cids(1)) == 4
    cids.take_changes()
    cids.close(1)
    assert cids.take_changes() == [CidChange(False, f.cid, 1) for f in sent[1:]]
    cids.on_retire(RetireConnectionId(1, 1))  # came late
    assert cids.next_seq(1) is None
    cids.stop(1)
    cids.close(1)
    assert cids.take_changes() == []


def test_rotation_replaces_all_and_waits_for_the_peer():
    cids = make(4)
    cids.open(1)
    frames(cids)
    assert cids.rotate(1)
    assert [(f.seq, f.retire_prior_to) for f in frames(cids)] == [(n, 4) for n in range(4, 8)]
    assert not cids.rotate(1)
    for seq in range(4):
        cids.on_retire(RetireConnectionId(seq, 1))
    assert frames(cids) == []
    assert len(cids.cids(1)) == 4
    assert cids.rotate(1)
    assert not cids.rotate(9)


def test_a_frame_of_before_a_rotation_stays_well_formed():
    cids = make(4)
    cids.open(1)
    cids.rotate(1)
    sent = frames(cids)
    assert [(f.seq, f.retire_prior_to) for f in sent[:5]] == [*((n, n) for n in range(4)), (4, 4)]
    for frame in sent:
        assert NewConnectionId.decode(0x3E78, frame.encode(), 2, len(frame.encode()))


@given(
    st.integers(2, 20),
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 30), st.sampled_from("rtlc")), max_size=80
    ),
)
def test_never_more_than_the_limit_whatever_the_peer_retires(limit, steps):
    cids = make(limit)
    routed = {}
    tokens = []
    for path_id in range(3):
        cids.open(path_id)
    for path_id, seq, what in steps:
        try:
            if what == "r":
                cids.on_retire(RetireConnectionId(seq, path_id))
            elif what == "t":
                tokens += [token for _, token in cids.take_frames(0.0, 40 * seq)]
            elif what == "l" and tokens:
                cids.on_lost(tokens.pop(seq % len(tokens)))
            elif what == "c" and seq % 5 == 0:
                cids.close(path_id)
        except PeerError as error:
            if error.code != PROTOCOL_VIOLATION:
                raise
        for change in cids.take_changes():
            if change.added:
                assert change.cid not in routed
                routed[change.cid] = change.path_id
            else:
                assert routed.pop(change.cid) == change.path_id
        for path in range(4):
            own = cids.cids(path)
            assert len(own) <= min(limit, MAX_ISSUED)
            assert sorted(own) == sorted(cid for cid, of in routed.items() if of == path)
