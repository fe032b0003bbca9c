"""Identities, events and requests of tests about peers that outlive their sessions."""

from sigbridge import (
    DisconnectReason,
    IceCandidate,
    IceCandidateReceived,
    SignalingError,
)
from sigbridge.auth import Identity
from stage import outcome_of

LOST = DisconnectReason.CONNECTION_LOST
ALICE, MALLORY = Identity("alice", source="jwt"), Identity("mallory", source="jwt")


def candidates(first, last):
    return [(number, IceCandidateReceived("bob", str(number), sdp_mline_index=0)) for number in range(first, last + 1)]


def send(actor, *texts, to="alice"):
    for text in texts:
        reply = outcome_of(actor.stage.hub, actor.session, IceCandidate(to, str(text)), actor.stage.now)
        assert not isinstance(reply, SignalingError), reply
