"""Settings of sessions: what each of them may keep waiting, and for how long."""

from dataclasses import dataclass
from typing import ClassVar

from sigbridge.settings.declare import Subject, seconds, whole


@dataclass(frozen=True, kw_only=True)
class Sessions(Subject):
    """The time limits and the outbox of one session."""

    title: ClassVar[str] = "Sessions"

    announce_timeout_seconds: float = seconds(
        30.0, "SIGNALING_ANNOUNCE_TIMEOUT_SEC", "time limit of a new session for its announce"
    )
    outbox_max_messages: int = whole(
        4096, "SIGNALING_OUTBOX_MAX_MESSAGES", "messages queued for one session above which relays to it are refused"
    )
    outbox_max_bytes: int = whole(
        2097152, "SIGNALING_OUTBOX_MAX_BYTES", "bytes queued for one session above which relays to it are refused"
    )
    send_deadline_seconds: float = seconds(
        10.0, "SIGNALING_SEND_DEADLINE_SEC", "a session ends when a message has waited in its outbox for so long"
    )
    pending_offer_seconds: float = seconds(
        60.0,
        "SIGNALING_PENDING_OFFER_SEC",
        "an offer without an answer is pending for so long; a finished one is remembered for so long",
    )
    max_pending_offers: int = whole(
        1000, "SIGNALING_MAX_PENDING_OFFERS", "most pending offers of one peer; beyond it the oldest is forgotten"
    )
