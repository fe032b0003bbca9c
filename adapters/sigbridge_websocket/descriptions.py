"""The words of the OpenRPC document: what each method, result and event is, and each of their members.

Rule 1: a member has one meaning wherever it stands, and is here by the plain dialect's name; what means something else
in one place is in `ELSEWHERE`. Rule 2: the texts are for people who write a client, in any language.
Source: `docs/protocol.md`, sections "What each request does", "Results" and "Events".
"""

from typing import Final

SUMMARIES: Final[dict[str, str]] = {
    "announce": "Become a peer of a room; must come first",
    "offer": "Relay an SDP offer to a peer",
    "answer": "Relay an SDP answer to a peer",
    "ice_candidate": "Relay an ICE candidate to a peer; an empty one ends the candidates",
    "disconnect": "Hang up on a peer, or leave with one's own id",
    "list_peers": "List the peers of a room",
    "authenticate": "Show a new token in place of the present one",
    "get_ice_servers": "Ask for ICE servers, and for newer ones before these end",
    "health_check": "Ask how the server is",
}
"""The summaries of methods."""

METHODS: Final[dict[str, str]] = {
    "announce": "Events follow the result: a peer_joined for each peer that is there already, in the order of joining.",
    "offer": "The result means that the target is here and its queue took the offer; its answer is an event.",
    "answer": "Refused with FAILED_PRECONDITION where the offer is over: its caller has hung up, or offers anew.",
    "ice_candidate": "One that is not empty and has neither sdp_mid nor sdp_mline_index arrives with an index of 0.",
    "disconnect": "The peer is told the sender's id and both stay peers; whoever leaves may announce itself again.",
    "list_peers": "Peers come in the order in which they joined. A peer may list its own room only.",
    "authenticate": "The newer token counts at once and alone; it must be the same subject's.",
    "get_ice_servers": "Only a peer that may relay has them; events bring newer ones from then on.",
    "health_check": "Allowed before announce as well, and whatever rights the session has.",
}
"""Facts about methods beside their summaries."""

RESULTS: Final[dict[str, tuple[str, str]]] = {
    "announce": ("Announced", "The session is a peer now"),
    "offer": ("OfferRelayed", "The target is here and its queue took the offer"),
    "answer": ("Relayed", "The target is here and its queue took the message"),
    "ice_candidate": ("Relayed", "The target is here and its queue took the message"),
    "disconnect": ("Disconnected", "The hang-up is done, or the sender has left"),
    "list_peers": ("PeerList", "A page of a room"),
    "authenticate": ("Authenticated", "Whom the session acts for now, and until when"),
    "get_ice_servers": ("IceServers", "The ICE servers that a peer may use"),
    "health_check": ("Health", "How the server is"),
}
"""The names of results, and what they are."""

PEER: Final = ("PeerInfo", "A peer of a room")
ICE_SERVER: Final = ("IceServer", "An ICE server, as RTCIceServer of W3C WebRTC has it")
CAPABILITIES: Final = ("Capabilities", "What media a peer can carry; other members are whatever else it wants known")

EVENTS: Final[dict[str, str]] = {
    "peer_joined": "A peer joined the room, or was there before",
    "peer_left": "A peer left the room; nothing of it arrives afterwards",
    "offer": "A peer offers",
    "answer": "A peer answers",
    "ice_candidate": "A peer found a candidate",
    "peer_disconnected": "A peer hung up on you",
    "server_notice": "The server says what it is about to do, to who asked to be told",
    "ice_servers": "There are newer ICE servers, to who asked for any",
}
"""The summaries of events."""

MEMBERS: Final[dict[str, str]] = {
    "audio": "It carries audio; absent is false",
    "video": "It carries video; absent is false",
    "data": "It has data channels; absent is false",
    "peer_id": "The id of a peer, 1 to 256 bytes of UTF-8",
    "to_peer_id": "The id of the peer that is told, which is in the sender's room",
    "from_peer_id": "The id of the peer that sent it, which the server writes",
    "capabilities": "What media the peer can carry",
    "metadata": "What else other peers should know, an object of any members",
    "room": "The room; absent or empty is the default room",
    "resumable": "True asks for a peer that outlives its session",
    "resume_token": "The token of a peer that is to be resumed; empty asks for none",
    "last_seq": "With a token: the number of the last event that the application has seen; 0 is none",
    "notices": "True asks to be told beforehand what the server is about to do",
    "ice_servers": "The ICE servers that the peer may use",
    "ice_servers_expire_unix_ms": "The moment at which their credentials end, in Unix milliseconds; absent: never",
    "servers": "The ICE servers that the peer may use from now on",
    "expires_unix_ms": "The moment at which their credentials end, in Unix milliseconds; absent: never",
    "urls": "The URL of the server (RFC 7064, RFC 7065), or several",
    "username": "The username for TURN",
    "credential": "The credential for TURN",
    "sdp": "The session description, which is relayed as it is",
    "type": "The type of the session description (RFC 8829); absent or empty is the method's own name",
    "offer_id": "The id of the offer that it belongs to; absent or empty says nothing",
    "candidate": "The candidate, which is relayed as it is; empty: there are no more (RFC 8838)",
    "sdp_mid": "The media stream identification tag of the candidate's media section",
    "sdp_mline_index": "The index of the candidate's media section, from 0 on",
    "username_fragment": "The ICE username fragment of the candidate",
    "page_size": "The peers that a page may hold; absent or 0: as many as the server allows",
    "page_token": "The next_page_token of the page before; absent or empty: the first page",
    "token": "A token, without the word Bearer; at most 8 KiB",
    "peers_count": "The number of the others; one more where the operator has it so",
    "other_peers": "The ids of those who were there before, in the order in which they joined",
    "resume_window_seconds": "The seconds that the peer outlives its session",
    "resumed": "To who showed a token: true where the peer is the one of before, and has missed nothing",
    "state": "The state of the peer: available, or away for one without a session",
    "connected_at": "The moment at which it announced itself, in whole Unix seconds",
    "peers": "The peers of this page",
    "count": "The number of peers of the whole room",
    "next_page_token": "The token of the next page, where there is one",
    "subject": "Whom the session acts for; empty: nobody in particular",
    "expires_at": "The end of its credentials, in whole Unix seconds; null: never",
    "status": "The state of the server",
    "uptime_seconds": "The whole seconds since the server began",
    "connected_peers": "The number of peers of all rooms",
    "metrics": "Numbers of the server: pending_offers, rooms, and sessions by protocol",
    "kind": "The notice: draining or token_expiring; pass on what you do not know",
    "message": "A text for people",
    "reconnect_after_ms": "The milliseconds after which to come back",
    "deadline_unix_ms": "The moment at which it happens, in Unix milliseconds",
    "reason": "A text for people",
    "success": "Always true: what is refused has an error",
    "addresses": "Always empty",
    "hostname": "Always empty",
    "seq": "The number of the event, where the peer is resumable",
    "from": "The sender's own id, which the server knows",
}
"""The meaning of members, by the plain dialect's names."""

ELSEWHERE: Final[dict[str, dict[str, str]]] = {
    "announce": {
        "peer_id": "The id to have, 1 to 256 bytes of UTF-8 without control characters",
        "ice_servers": "True asks for ICE servers, and for newer ones before these end",
    },
    "disconnect": {"peer_id": "The id of the peer to hang up on; one's own: leave"},
    "list_peers": {
        "room": "The room; absent is one's own, and the default room of who is no peer; empty: the default room"
    },
    "Announced": {
        "resumable": "To who asked: true where the peer outlives its session",
        "resume_token": "The token by which the peer may be resumed",
    },
    "OfferRelayed": {"offer_id": "The id of the offer, which is never the same twice"},
    "offer event": {
        "offer_id": "The id of the offer, which is never the same twice",
        "type": "The type of the session description",
    },
    "answer result": {"from": "The id of the peer that answers", "type": "The type of the session description"},
    "answer event": {"type": "The type of the session description (RFC 8829)"},
    "server_notice event": {"data": "What else is known"},
}
"""Other meanings, by a method, by the name of a result, or by an event."""


def meaning_of(member: str, where: str) -> str:
    """Returns what a member is in a method, in a result of this name, or in an event (`NAME event`)."""
    return ELSEWHERE.get(where, {}).get(member) or MEMBERS[member]
