"""Who may connect, and as whom.

Rule 1: an `Authenticator` turns what a client shows (`Credentials`) into an `Identity`, or refuses; it is asked before
anything is made for the session. Rule 2: an identity goes with every question, in a session and outside of one, and is
asked each time; nothing keeps what it may do. Rule 3: a token that a whole fleet shares is no identity of anybody: it
opens the door and says nothing about who came in. How a protocol carries credentials is not known here.
Source: `docs/security.md`.
"""

import hashlib
import hmac
from collections.abc import Iterable
from typing import Protocol

from msgspec import Struct

from sigbridge import errors
from sigbridge.counters import Counters
from sigbridge.instant import Instant


class Credentials(Struct, frozen=True):
    """What a client showed when it connected."""

    token: str | None = None
    """The API token, without the word `Bearer`; `None` where there was none, or more than one."""
    certificate_subject: str | None = None
    """The common name of a client certificate that the server's authority signed."""


class Identity(Struct, frozen=True):
    """On whose behalf a session acts, and what that allows."""

    subject: str = ""
    """A name for limits and logs; empty where nobody in particular is meant."""
    peer_ids: frozenset[str] | None = None
    """The peer ids that it may announce; `None` allows all."""
    rooms: frozenset[str] | None = None
    """The rooms that it may enter; `None` allows all."""

    def check_announce(self, room: str, peer_id: str) -> None:
        """Raise SignalingError (PERMISSION_DENIED) where this identity may not be that peer of that room."""
        if self.peer_ids is not None and peer_id not in self.peer_ids:
            raise errors.peer_id_mismatch(peer_id)
        self.check_room(room)

    def check_room(self, room: str) -> None:
        """Raise SignalingError (PERMISSION_DENIED) where this identity may not enter that room, nor look into it."""
        if self.rooms is not None and room not in self.rooms:
            raise errors.room_forbidden()


ANYBODY = Identity()
"""The identity of a client that showed nothing by which it could be told from others."""


class Authenticator(Protocol):
    """Decides who may connect."""

    def authenticate(self, credentials: Credentials, now: Instant) -> Identity:
        """The identity that credentials prove now; raises SignalingError (UNAUTHENTICATED) where they prove none."""


class AllowAll:
    """Lets everybody in, as nobody in particular."""

    def authenticate(self, credentials: Credentials, now: Instant) -> Identity:
        """Anybody, or the subject of the certificate that was shown."""
        return Identity(subject=credentials.certificate_subject or "")


ALLOW_ALL = AllowAll()


class StaticTokens:
    """Lets in who shows one of a fixed list of tokens; compared in constant time."""

    def __init__(self, tokens: Iterable[str]) -> None:
        # Digests are of one length, so that a comparison tells nothing about a token's.
        self._digests = [_digest(token) for token in tokens]

    def authenticate(self, credentials: Credentials, now: Instant) -> Identity:
        """See `Authenticator`; a shared token says nothing about who came, a certificate's subject does."""
        shown = _digest(credentials.token or "")
        # Every token is compared, whether one has matched already or not.
        matches = [hmac.compare_digest(shown, known) for known in self._digests]
        if not any(matches):
            raise errors.unauthenticated()
        return Identity(subject=credentials.certificate_subject or "")


class RefusalCounter:
    """Asks another authenticator, and counts the clients that it refuses."""

    def __init__(self, authenticator: Authenticator, counters: Counters, protocol: str) -> None:
        self._authenticator = authenticator
        self._refusals = counters.refusals
        self._protocol = protocol

    def authenticate(self, credentials: Credentials, now: Instant) -> Identity:
        """The other's identity; raises what the other raises."""
        try:
            return self._authenticator.authenticate(credentials, now)
        except errors.SignalingError:
            self._refusals[self._protocol, "unauthenticated"] += 1
            raise


def token_authenticator(tokens: Iterable[str], *, asked: bool) -> Authenticator:
    """What the settings say: one of the tokens where a token is asked for, else everybody."""
    return StaticTokens(tokens) if asked else ALLOW_ALL


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
