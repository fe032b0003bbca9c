"""The client without a protocol: what it makes of an event's number."""

import pytest

from sigbridge import IceCandidateReceived, PeerLeft
from sigbridge_compat.hub_client import HubEncoding


@pytest.mark.parametrize("event", [PeerLeft("event 0 a"), IceCandidateReceived("a", "event 0 ")])
def test_a_number_takes_the_place_of_none_and_nothing_else_is_changed(event):
    encoding = HubEncoding()
    frame = encoding.encode_event(event)
    family, number, name, text = encoding.number_event(frame, 12).split(b" ", 3)
    assert (family, number, name) == (b"event", b"12", type(event).__name__.encode())
    assert frame == b"event 0 %b %b" % (name, text)
