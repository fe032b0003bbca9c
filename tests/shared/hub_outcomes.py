"""Events and errors that tests of the hub expect."""

from sigbridge import (
    Code,
    PeerJoined,
    SignalingError,
)
from sigbridge.messages import NO_CAPABILITIES


def joined(*peer_ids):
    return [PeerJoined(peer_id, NO_CAPABILITIES, {}) for peer_id in peer_ids]


def wrong(field, what):
    return SignalingError(Code.INVALID_ARGUMENT, f"Invalid params: {field} {what}", field=field)
