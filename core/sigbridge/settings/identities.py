"""Settings of identities: who clients are that show a certificate or nothing, and what they may do."""

from dataclasses import dataclass
from typing import ClassVar

from sigbridge.settings.declare import Subject, patterns, switch, texts

_RIGHTS = ("announce", "relay", "list")


def _check_rights(words: tuple[str, ...]) -> None:
    """Checks that words name rights, or are `none` alone.

    :raises ValueError: if they do not.
    """
    if words != ("none",) and not set(words) <= set(_RIGHTS):
        raise ValueError(words)


@dataclass(frozen=True, kw_only=True)
class Identities(Subject):
    """The identity of a certificate, the rights of anonymous clients, and reserved ids."""

    title: ClassVar[str] = "Identities"

    certificate_is_enough: bool = switch(
        False,
        "SIGNALING_CERTIFICATE_IS_ENOUGH",
        "a client with a certificate needs no token where tokens are required",
    )
    tls_subject_peer_id: bool = switch(
        False,
        "SIGNALING_TLS_SUBJECT_PEER_ID",
        "a client may have no other peer id than the subject of its certificate",
    )
    anonymous_peer_ids: tuple[str, ...] = patterns(
        "SIGNALING_ANONYMOUS_PEER_IDS",
        "patterns of the peer ids that anonymous clients may have; not set: any",
    )
    anonymous_rooms: tuple[str, ...] = patterns(
        "SIGNALING_ANONYMOUS_ROOMS",
        "patterns of the rooms that anonymous clients may enter; * matches the default room too; not set: any",
    )
    anonymous_rights: tuple[str, ...] = texts(
        "SIGNALING_ANONYMOUS_RIGHTS",
        "what anonymous clients may do; none: only receive and leave",
        "announce, relay and list, or some of them, separated by commas; or none",
        default=_RIGHTS,
        check=_check_rights,
    )
    reserved_peer_ids: tuple[str, ...] = patterns(
        "SIGNALING_RESERVED_PEER_IDS",
        "patterns of peer ids that only an identity may have whose own patterns name them",
    )
