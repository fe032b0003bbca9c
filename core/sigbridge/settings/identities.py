"""Settings of identities: who clients are that show a certificate or nothing, and what they may do."""

from dataclasses import dataclass
from typing import ClassVar

from sigbridge.settings.declare import Subject, patterns, switch, texts

_RIGHTS = ("announce", "relay", "list")


def _check_rights(words: tuple[str, ...]) -> None:
    """Raises ValueError where there is a word that is no right, or `none` beside others."""
    if words != ("none",) and not set(words) <= set(_RIGHTS):
        raise ValueError(words)


@dataclass(frozen=True, kw_only=True)
class Identities(Subject):
    """The identity of a certificate, the rights of those who are nobody in particular, and ids that are reserved."""

    title: ClassVar[str] = "Identities"

    certificate_is_enough: bool = switch(
        False,
        "SIGNALING_CERTIFICATE_IS_ENOUGH",
        "whether a client with a certificate needs no token where tokens are asked for",
    )
    tls_subject_peer_id: bool = switch(
        False,
        "SIGNALING_TLS_SUBJECT_PEER_ID",
        "whether the subject of a client's certificate is the only peer id that it may have",
    )
    anonymous_peer_ids: tuple[str, ...] = patterns(
        "SIGNALING_ANONYMOUS_PEER_IDS",
        "patterns of the peer ids that those may have who are asked for nothing and show nothing; not set: any",
    )
    anonymous_rooms: tuple[str, ...] = patterns(
        "SIGNALING_ANONYMOUS_ROOMS",
        "patterns of the rooms that they may enter; * names the default room too; not set: any",
    )
    anonymous_rights: tuple[str, ...] = texts(
        "SIGNALING_ANONYMOUS_RIGHTS",
        "what they may do; none: receive and leave",
        "announce, relay and list, or some of them, separated by commas; or none",
        default=_RIGHTS,
        check=_check_rights,
    )
    reserved_peer_ids: tuple[str, ...] = patterns(
        "SIGNALING_RESERVED_PEER_IDS",
        "patterns of peer ids that nobody may have but an identity that has patterns of its own which name them",
    )
