"""sigbridge: one WebRTC signaling hub behind two protocols, gRPC and WebSocket JSON-RPC 2.0.

This package is the hub and knows neither protocol; `sigbridge_client.connect` is where a program begins, and
`sigbridge_server` what a service runs; `sigbridge_command` is the `sigbridge` command.
"""

from sigbridge.client import ConnectionClosed, SignalingClient
from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import Code, SigbridgeError, SignalingError
from sigbridge.hub import Hub
from sigbridge.instant import Instant
from sigbridge.messages import (
    Announce,
    Announced,
    Answer,
    AnswerReceived,
    Authenticate,
    Authenticated,
    Capabilities,
    Disconnect,
    Disconnected,
    Event,
    Health,
    HealthCheck,
    IceCandidate,
    IceCandidateReceived,
    ListPeers,
    Offer,
    OfferReceived,
    OfferRelayed,
    PeerDisconnected,
    PeerInfo,
    PeerJoined,
    PeerLeft,
    PeerList,
    Relayed,
    Reply,
    Request,
)
from sigbridge.settings import SettingError, Settings

__version__ = "0.1.0"

__all__ = [
    "Announce",
    "Announced",
    "Answer",
    "AnswerReceived",
    "Authenticate",
    "Authenticated",
    "Capabilities",
    "Code",
    "ConnectionClosed",
    "Disconnect",
    "DisconnectReason",
    "Disconnected",
    "Event",
    "Health",
    "HealthCheck",
    "Hub",
    "IceCandidate",
    "IceCandidateReceived",
    "Instant",
    "ListPeers",
    "Offer",
    "OfferReceived",
    "OfferRelayed",
    "PeerDisconnected",
    "PeerInfo",
    "PeerJoined",
    "PeerLeft",
    "PeerList",
    "Relayed",
    "Reply",
    "Request",
    "SettingError",
    "Settings",
    "SigbridgeError",
    "SignalingClient",
    "SignalingError",
    "__version__",
]
