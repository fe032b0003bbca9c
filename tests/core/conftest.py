"""A bare hub with actors, and what is asked of it."""

import pytest

from result_calls import ResultCall
from sigbridge import Answer, IceCandidate, Offer
from stage import Stage


@pytest.fixture
def make_stage():
    return Stage


@pytest.fixture
def stage():
    return Stage()


@pytest.fixture
def call(stage):
    return ResultCall(stage)


@pytest.fixture
def relays():
    """One request of each kind that needs its target to be there."""

    def to(peer_id):
        return (Offer(peer_id, "v=0"), Answer(peer_id, "v=0"), IceCandidate(peer_id, "candidate"))

    return to
