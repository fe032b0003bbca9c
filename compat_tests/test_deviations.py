"""Table of known deviations: what it explains, and what it does not, without a server."""

import pytest

from sigbridge import (
    Announced,
    AnswerReceived,
    Capabilities,
    Code,
    IceCandidateReceived,
    OfferReceived,
    PeerInfo,
    PeerJoined,
    PeerLeft,
    PeerList,
    SignalingError,
    errors,
)
from sigbridge.messages import NO_CAPABILITIES
from sigbridge_compat import deviations
from sigbridge_compat.comparing import difference
from sigbridge_compat.deviations import corrected
from sigbridge_compat.recorder import expect
from sigbridge_compat.tolerance import CURRENT, MOST_NOTES, Tolerance

CAMERA = Capabilities(video=True, extensions={"zoom": True})
NAMED = {"name": "Alice"}


def listed(peer_id, capabilities=NO_CAPABILITIES, metadata=None):
    return PeerInfo(peer_id, capabilities, "available", metadata or {}, 1)


EXPLAINED = [
    (Announced("b", 2, ("a",)), Announced("b", 1, ("a",)), deviations.COUNTS_NEWCOMER),
    (Announced("b", 1, ("a", "b")), Announced("b", 1, ("a",)), deviations.LISTS_NEWCOMER),
    (Announced("c", 2, ("b", "a")), Announced("c", 2, ("a", "b")), deviations.PEER_ORDER),
    (["b", "a"], ["a", "b"], deviations.PEER_ORDER),
    (PeerList((listed("b"), listed("a")), 2), PeerList((listed("a"), listed("b")), 2), deviations.PEER_ORDER),
    (PeerJoined("a", CAMERA, {}), PeerJoined("a", CAMERA, NAMED), deviations.NO_METADATA),
    (PeerJoined("a", NO_CAPABILITIES, NAMED), PeerJoined("a", CAMERA, NAMED), deviations.NO_CAPABILITIES_TOLD),
    (PeerJoined("a", Capabilities(video=True), {}), PeerJoined("a", CAMERA, {}), deviations.NO_EXTENSIONS),
    ([listed("a")], [listed("a", metadata=NAMED)], deviations.NO_METADATA_LISTED),
    (
        OfferReceived("a", "", "v=0", "offer"),
        OfferReceived("a", "a_b_1700000000000", "v=0", "offer"),
        deviations.NO_OFFER_ID,
    ),
    (AnswerReceived("a", "v=0", "answer"), AnswerReceived("a", "v=0", "answer", "x"), deviations.OFFER_ID_DROPPED),
    (IceCandidateReceived("a", "c", "0"), IceCandidateReceived("a", "c", "0", None, "u"), deviations.FRAGMENT_DROPPED),
    (IceCandidateReceived("a", "c", "0", 0), IceCandidateReceived("a", "c", "0"), deviations.EMPTY_FOR_ABSENT),
    (IceCandidateReceived("a", "c"), IceCandidateReceived("a", "c", None, 0), deviations.NO_MEDIA_SECTION),
    (
        [PeerJoined("a", CAMERA, {}), Announced("b", 1, ("a",))],
        [Announced("b", 1, ("a",)), PeerJoined("a", CAMERA, {})],
        deviations.EVENT_FIRST,
    ),
    (SignalingError(Code.NOT_FOUND, "no", peer_id="a"), errors.peer_not_found("a"), deviations.ERROR_TEXT),
    (SignalingError(Code.NOT_FOUND, "Peer not found: a"), errors.peer_not_found("a"), deviations.ERROR_DATA),
]


@pytest.mark.parametrize(
    ("actual", "expected", "name"), EXPLAINED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_deviation_is_noted_once_and_taken_out(actual, expected, name):
    noted = []
    expect(corrected(actual, expected, noted.append), expected)
    assert noted == [name]
    # What is as it should be is no deviation, and nothing is tolerated where nobody has said so.
    noted.clear()
    expect(corrected(expected, expected, noted.append), expected)
    assert noted == []
    with pytest.raises(AssertionError):
        expect(actual, expected)


@pytest.mark.parametrize(
    ("actual", "expected", "line"),
    [
        (Announced("b", 3, ("a",)), Announced("b", 1, ("a",)), "Announced differs in peers_count"),
        (["a"], ["a", "b"], "another list of texts"),
        ([PeerLeft("a")], [], "PeerLeft instead of nothing"),
        ([PeerLeft("a"), PeerLeft("b")], [PeerLeft("a")], "2 PeerLeft instead of PeerLeft"),
        # Another peer's event says nothing of this one's.
        ([PeerJoined("b", CAMERA, {})], [PeerJoined("a", CAMERA, NAMED)], "PeerJoined differs in peer_id, metadata"),
        (PeerJoined("a", CAMERA, {"name": "Eve"}), PeerJoined("a", CAMERA, NAMED), "PeerJoined differs in metadata"),
        (errors.not_announced(), errors.peer_not_found("a"), "refused with FAILED_PRECONDITION instead of NOT_FOUND"),
        (errors.peer_not_found("b"), errors.peer_not_found("a"), None),
        (Code.NOT_FOUND, Code.INTERNAL, "NOT_FOUND instead of INTERNAL"),
        ({"a": 1}, {"a": True}, "an object with other members"),
    ],
)
def test_what_nothing_explains_is_a_failure_with_one_line(actual, expected, line):
    noted = []
    left = corrected(actual, expected, noted.append)
    if line is None:
        assert noted == [deviations.ERROR_DATA, deviations.ERROR_TEXT]
        return
    assert noted == []
    assert difference(left, expected) == line
    with pytest.raises(AssertionError, match=f"^{line}\n"):
        expect(actual, expected)


def test_only_where_it_is_current_something_is_tolerated():
    tolerance = Tolerance()
    token = CURRENT.set(tolerance)
    try:
        expect(Announced("b", 2, ("a",)), Announced("b", 1, ("a",)))
    finally:
        CURRENT.reset(token)
    assert [*tolerance.noted] == [deviations.COUNTS_NEWCOMER]
    with pytest.raises(AssertionError):
        expect(Announced("b", 2, ("a",)), Announced("b", 1, ("a",)))


def test_what_is_noted_is_bounded():
    tolerance = Tolerance()
    for number in range(1000):
        tolerance.note(f"events of another name: {number}" + "x" * 10_000)
    assert len(tolerance.noted) == MOST_NOTES
    assert max(map(len, tolerance.noted)) < 200
