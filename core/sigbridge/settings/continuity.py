"""Settings of continuity: how long a peer outlives its session, what is kept for it, and who may take its id."""

from dataclasses import dataclass
from typing import ClassVar, Final

from sigbridge.settings.declare import Subject, seconds, text, whole

NEVER: Final = "never"
SAME_IDENTITY: Final = "same-identity"
ALWAYS: Final = "always"


def _check_takeover(value: str) -> None:
    if value not in (NEVER, SAME_IDENTITY, ALWAYS):
        raise ValueError(value)


@dataclass(frozen=True, kw_only=True)
class Continuity(Subject):
    """Peers that outlive their sessions, and ids that a newer session takes."""

    title: ClassVar[str] = "Continuity"

    resume_window_seconds: float = seconds(
        30.0,
        "SIGNALING_RESUME_WINDOW_SEC",
        "a resumable peer that has lost its session is held for so long; 0: no peer is resumable",
        zero=True,
    )
    resume_max_messages: int = whole(1024, "SIGNALING_RESUME_MAX_MESSAGES", "most events kept for one resumable peer")
    resume_max_bytes: int = whole(
        1048576, "SIGNALING_RESUME_MAX_BYTES", "most bytes of text kept for one resumable peer"
    )
    max_held_peers: int = whole(
        0,
        "SIGNALING_MAX_HELD_PEERS",
        "most peers held at once; beyond it the identity or address with most of them loses its oldest; "
        "0: as SIGNALING_MAX_SESSIONS",
        least=0,
    )
    max_held_bytes: int = whole(
        67108864,
        "SIGNALING_MAX_HELD_BYTES",
        "most bytes kept for all held peers together; beyond it the one with most loses its oldest peer",
    )
    takeover: str = text(
        SAME_IDENTITY,
        "SIGNALING_TAKEOVER",
        "who may take over the id of a peer whose session is open: nobody, a resumable newcomer of the same identity, "
        "or anybody whose rights allow the id",
        f"{NEVER}, {SAME_IDENTITY} or {ALWAYS}",
        _check_takeover,
    )
    takeover_per_minute: int = whole(
        6,
        "SIGNALING_TAKEOVER_PER_MINUTE",
        "how often one identity, or one address without an identity, may take over one id from open sessions",
    )
