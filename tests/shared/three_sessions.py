"""Two peers and one who is none yet, on a hub of their own: what the paths through JSON-RPC are compared by."""

from typing import Any

from msgspec import UNSET

from clock import NOW
from sigbridge import Hub, Settings
from sigbridge.messages import Announce
from sigbridge.session import no_end
from sigbridge_compat.deferred import Deferral
from sigbridge_websocket.conversation import Conversation
from sigbridge_websocket.encoding import BARE_JSON, BareJson

SETTINGS = Settings(max_sdp_bytes=200, max_candidate_bytes=200, max_metadata_bytes=200)
NAMES = ("alice", "bob", "")
"""The names of the three, by their places; the third has none."""


class ThreeSessions:
    """Alice and Bob, who are peers, and Carol, who is none yet."""

    def __init__(
        self, settings: Settings = SETTINGS, deferral: Deferral | None = None, encoding: BareJson = BARE_JSON
    ) -> None:
        """Begins; with a deferral the two become peers when it has completed both claims."""
        self.hub = Hub(settings, NOW, directory=deferral, bus=deferral)
        if deferral is not None:
            deferral.attach(self.hub)
        self.sessions = [self.hub.open("websocket", encoding, no_end, NOW) for _ in NAMES]
        self.conversations = [Conversation(self.hub, session, encoding) for session in self.sessions]
        for name, session, conversation in zip(NAMES, self.sessions, self.conversations, strict=True):
            session.on_ready = conversation.resume
            if name:
                self.hub.apply(session, Announce(name), UNSET, NOW)

    def outcome(self) -> Any:
        """Returns what was said to each since it was asked last, and what the hub holds and has counted."""
        texts = [session.outbox.take(2**40) for session in self.sessions]
        offers = [key for key in (("", "alice", "bob"), ("", "bob", "alice")) if key in self.hub._offers]
        peers = [None if one.peer is None else (one.peer.room.name, one.peer.info) for one in self.sessions]
        ends = [session.end_reason for session in self.sessions]
        counters = self.hub.counters
        counted = (
            counters.requests,
            counters.relays,
            counters.events,
            counters.disconnects,
            counters.ignored_responses,
            counters.dialects,
            counters.awaited_answers,
        )
        return texts, offers, peers, ends, counted
