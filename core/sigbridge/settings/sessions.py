"""Settings of sessions: what each of them may keep waiting, and for how long."""

from dataclasses import dataclass
from typing import ClassVar

from sigbridge.settings.declare import Subject, seconds, whole


@dataclass(frozen=True, kw_only=True)
class Sessions(Subject):
    """The time limits and the outbox of one session."""

    title: ClassVar[str] = "Sessions"

    announce_timeout_seconds: float = seconds(
        30.0, "SIGNALING_ANNOUNCE_TIMEOUT_SEC", "how long a session may stay without announcing itself"
    )
    outbox_max_messages: int = whole(
        4096, "SIGNALING_OUTBOX_MAX_MESSAGES", "messages that may wait for one session before relays to it are refused"
    )
    outbox_max_bytes: int = whole(
        2097152, "SIGNALING_OUTBOX_MAX_BYTES", "bytes that may wait for one session before relays to it are refused"
    )
    send_deadline_seconds: float = seconds(
        10.0, "SIGNALING_SEND_DEADLINE_SEC", "how long a message may wait in an outbox before its session is ended"
    )
    pending_offer_seconds: float = seconds(
        60.0,
        "SIGNALING_PENDING_OFFER_SEC",
        "how long an offer counts as pending without an answer, and is remembered when it is over",
    )
    max_pending_offers: int = whole(
        1000, "SIGNALING_MAX_PENDING_OFFERS", "pending offers of one peer; the oldest is forgotten for one more"
    )
