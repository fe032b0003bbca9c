"""The parts of session descriptions (RFC 8866) that calls look at: candidates, and the marks of connections.

Rule 1: a description of a peer is measured before anything else reads it. Rule 2: candidates are taken out of every
description: what is sent trickles (RFC 8838), and what arrives must not let a description wait for a name to resolve.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from sigbridge.errors import SigbridgeError

MAX_SDP_BYTES: Final = 128 * 1024
"""The longest description that is read; browsers' have some kilobytes."""
MAX_MEDIA: Final = 32
"""The most media descriptions (`m=`) in one: each may cost a transport."""
MAX_CANDIDATES: Final = 128
"""The most candidates that are taken for one connection, and the most that are held until their description is set."""

MAX_CANDIDATE_LENGTH: Final = 1024
"""The longest candidate that is read, in characters."""


class BadDescription(SigbridgeError, ValueError):
    """A peer's session description is none, or one of a size that nobody has."""


class Candidate(NamedTuple):
    """A candidate as W3C's `RTCIceCandidateInit` has it; an empty `candidate` says that there are no more."""

    candidate: str
    sdp_mid: str | None = None
    sdp_mline_index: int | None = None
    username_fragment: str | None = None


class Transport(NamedTuple):
    """The marks of a connection: with the same ones a description goes on with it, with others it is of a new one.

    An ICE restart, which has a new `username_fragment`, takes a new connection as well: aiortc cannot restart.
    """

    fingerprints: frozenset[str]
    username_fragment: str


@dataclass(frozen=True)
class Description:
    """A description without its candidates."""

    sdp: str
    candidates: tuple[Candidate, ...]
    has_all_candidates: bool
    transport: Transport
    mids: tuple[str, ...]
    username_fragments: frozenset[str]
    has_dtls: bool
    """True where each media section has its DTLS role, `a=setup` (RFC 8842), of its own or of the session."""


def read(sdp: str) -> Description:
    """Returns the parts of a description.

    :raises BadDescription: if it is longer than one may be.
    """
    if len(sdp) > MAX_SDP_BYTES or len(sdp.encode(errors="replace")) > MAX_SDP_BYTES:
        raise BadDescription(f"a description of more than {MAX_SDP_BYTES} bytes")
    kept: list[str] = []
    found: list[tuple[str, int]] = []
    fingerprints: set[str] = set()
    fragments: list[str] = []
    mids: list[str] = []
    ends = 0
    without_setup: set[int] = set()
    has_session_setup = False
    for line in sdp.splitlines():
        name, _, value = line.partition(":")
        if line.startswith("m="):
            mids.append("")
            if not has_session_setup:
                without_setup.add(len(mids))
            if len(mids) > MAX_MEDIA:
                raise BadDescription(f"a description of more than {MAX_MEDIA} media")
        if name == "a=candidate":
            found.append((line.removeprefix("a="), max(len(mids) - 1, 0)))
            continue
        if name == "a=end-of-candidates":
            ends += 1
            continue
        if name == "a=group" and value.split() == ["BUNDLE"]:
            # aiortc writes it where there is no media, and browsers refuse it.
            continue
        if name == "a=fingerprint":
            fingerprints.add(value.strip().lower())
        elif name == "a=ice-ufrag":
            fragments.append(value.strip())
        elif name == "a=setup":
            has_session_setup = has_session_setup or not mids
            without_setup.discard(len(mids))
        elif name == "a=mid" and mids:
            mids[-1] = value.strip()
        kept.append(line)
    fragment = fragments[0] if fragments else None
    candidates = {
        text: Candidate(text, mids[index] if mids else None, index, fragment) for text, index in reversed(found)
    }
    return Description(
        "".join(f"{line}\r\n" for line in kept),
        tuple(reversed(candidates.values())),
        ends > 0,
        Transport(frozenset(fingerprints), fragment or ""),
        tuple(mids),
        frozenset(fragments),
        not without_setup,
    )
