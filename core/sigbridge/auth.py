"""Authentication: the decision who may connect, and as whom.

Rule 1: an `Authenticator` turns what a client shows (`Credentials`) into an `Identity`, or refuses; it is asked before
anything is made for the session. Rule 2: an identity goes with every question, in a session and outside of one, and is
asked each time; nothing keeps what it may do. Rule 3: a token that a whole fleet shares is no identity of anybody: it
opens the door and says nothing about who came in. How a protocol carries credentials is not known here.
Source: `docs/security.md`.
"""

import hashlib
import hmac
from collections.abc import Container, Iterable
from typing import Any, Final, Protocol

import msgspec
from msgspec import Struct

from sigbridge import errors
from sigbridge.counters import Counters
from sigbridge.errors import SignalingError
from sigbridge.instant import Instant
from sigbridge.pending import Pending
from sigbridge.refused import log_hidden, note_refusal

ANNOUNCE: Final = "announce"
"""The right to become a peer, and to be told who else is there."""
RELAY: Final = "relay"
"""The right to send to peers: offers, answers, candidates, and hanging up on others."""
LIST: Final = "list"
"""The right to list a room."""
ALL_RIGHTS: Final = frozenset((ANNOUNCE, RELAY, LIST))


class Certificate(Struct, frozen=True):
    """A client certificate that the server's authority signed."""

    subject: str
    """Its common name, else its first URI, else its first DNS name; empty where it has none of these."""
    expires_at: float | None = None
    """The end of its validity (Unix seconds), where that is known."""


class Credentials(Struct, frozen=True):
    """The token and the certificate that a client shows, when it connects and with a new token later."""

    token: str | None = None
    """The API token, without the word `Bearer`; `None` where there was none, or more than one."""
    certificate: Certificate | None = None
    """The certificate of its connection; `None` where it showed none."""
    address: str = ""
    """The address of its connection, without a port; empty for a unix socket."""

    def __repr__(self) -> str:
        shown = None if self.token is None else "(hidden)"
        return f"Credentials(token={shown}, certificate={self.certificate!r}, address={self.address!r})"

    @property
    def certificate_subject(self) -> str | None:
        """The subject of its certificate; `None` where it showed none."""
        return None if self.certificate is None else self.certificate.subject


class Identity(Struct, frozen=True):
    """On whose behalf a session acts, and what that allows."""

    subject: str = ""
    """A name for limits and logs; empty where nobody in particular is meant."""
    peer_ids: Container[str] | None = None
    """The peer ids that it may announce, as a set or as `Patterns`; `None` allows all."""
    rooms: Container[str] | None = None
    """The rooms that it may enter, likewise; `None` allows all."""
    rights: frozenset[str] = ALL_RIGHTS
    """The rights that it has, of `ALL_RIGHTS`; other words grant nothing."""
    source: str = ""
    """The kind of credentials that proved it: `jwt`, `token`, `cert`, or empty; subjects of two sources are two."""
    issuer: str = ""
    """The issuer of a JWT, whose subjects are its own."""
    expires_at: float | None = None
    """The end of its credentials (Unix seconds), as clients are told; `None`: never."""
    leeway_seconds: float = 0.0
    """So long after `expires_at` its sessions end, since clocks differ."""
    proof: Any = None
    """The token's entry or the key by which it was proven, for its source to find again at a reload."""
    name: str = ""
    """Source, issuer and subject in one text, such as `jwt:https://idp/alice`; made of these where it is not given.

    It tells identities apart: for limits, and where a session shows new credentials.
    """

    def __post_init__(self) -> None:
        """Makes the name of source, issuer and subject if none is given."""
        if self.subject and not self.name:
            source = f"{self.source}:" if self.source else ""
            issuer = f"{self.issuer}/" if self.issuer else ""
            msgspec.structs.force_setattr(self, "name", f"{source}{issuer}{self.subject}")

    def check_right(self, right: str) -> None:
        """Checks that this identity has a right.

        :raises SignalingError: PERMISSION_DENIED if it lacks it.
        """
        if right not in self.rights:
            raise errors.right_missing(right)

    def check_announce(self, room: str, peer_id: str, reserved: Container[str] = ()) -> None:
        """Checks that this identity may announce that peer id in that room.

        `reserved` are the ids that only identities with a name may have, whose own `peer_ids` match them.

        :raises SignalingError: PERMISSION_DENIED if it may not.
        """
        self.check_right(ANNOUNCE)
        if not self._may_have(peer_id, reserved):
            raise errors.peer_id_mismatch(peer_id)
        self.check_room(room)

    def may_be(self, room: str, peer_id: str, reserved: Container[str] = ()) -> bool:
        """Returns whether this identity may have that peer id and that room; see `check_announce`."""
        return self._may_have(peer_id, reserved) and (self.rooms is None or room in self.rooms)

    def _may_have(self, peer_id: str, reserved: Container[str]) -> bool:
        """Returns whether its patterns allow a peer id, and the id is not reserved for identities that name it."""
        if self.peer_ids is not None and peer_id not in self.peer_ids:
            return False
        # What those may have who are nobody in particular are no patterns of anybody's own.
        return peer_id not in reserved or (self.peer_ids is not None and self.name != "")

    def check_room(self, room: str) -> None:
        """Checks that this identity may enter that room, and list it.

        :raises SignalingError: PERMISSION_DENIED if it may not.
        """
        if self.rooms is not None and room not in self.rooms:
            raise errors.room_forbidden()


ANYBODY = Identity()
"""The identity of a client that showed nothing by which it could be told from others."""


class Authenticator(Protocol):
    """Decides who may connect."""

    def authenticate(self, credentials: Credentials, now: Instant) -> Identity | Pending[Identity]:
        """Returns the identity that credentials prove now, or a `Pending` of it if something must be looked up first.

        It is called on the event loop, and must not wait. A `Pending` resolves to the same errors.

        :raises SignalingError: UNAUTHENTICATED if they prove none; RESOURCE_EXHAUSTED with `retry_after_ms` if too many
            were shown.
        """


def ignores_tokens(authenticator: Authenticator) -> bool:
    """Returns whether tokens mean nothing to an authenticator, which says so by an attribute of this name.

    A token shown in a session is then acknowledged and changes nothing.
    """
    return bool(getattr(authenticator, "ignores_tokens", False))


class AllowAll:
    """Lets everybody in, as nobody in particular."""

    ignores_tokens: Final = True

    def authenticate(self, credentials: Credentials, now: Instant) -> Identity:
        """Returns the identity of the client's certificate, or `ANYBODY`."""
        return _identity_of_certificate(credentials)


ALLOW_ALL = AllowAll()


class StaticTokens:
    """Lets in who shows one of a fixed list of tokens; compared in constant time."""

    def __init__(self, tokens: Iterable[str]) -> None:
        # Digests are of one length, so that a comparison tells nothing about a token's.
        self._digests = [token_digest(token) for token in tokens]

    def knows(self, token: str) -> bool:
        """Returns whether a token is one of them."""
        shown = token_digest(token)
        # Every token is compared, whether one has matched already or not.
        matches = [hmac.compare_digest(shown, known) for known in self._digests]
        return any(matches)

    def authenticate(self, credentials: Credentials, now: Instant) -> Identity:
        """Returns the identity of the client's certificate, or `ANYBODY`: a shared token does not say who shows it.

        :raises SignalingError: UNAUTHENTICATED if the token is not in the list.
        """
        if not self.knows(credentials.token or ""):
            raise errors.unauthenticated()
        return _identity_of_certificate(credentials)


class RefusalCounter:
    """Asks another authenticator, and counts and logs the clients that it refuses.

    Where that one fails, its exception may hold what was shown: it is logged without its text, and the client is told
    of a fault of ours.
    """

    def __init__(self, authenticator: Authenticator, counters: Counters, protocol: str) -> None:
        self._authenticator = authenticator
        self.ignores_tokens: Final = ignores_tokens(authenticator)
        self._counters = counters
        self._protocol = protocol

    def authenticate(self, credentials: Credentials, now: Instant) -> Identity | Pending[Identity]:
        """Returns the other authenticator's identity, or its `Pending`.

        :raises SignalingError: as the other does; INTERNAL if the other fails.
        """
        remote = credentials.address
        try:
            identity = self._authenticator.authenticate(credentials, now)
        except SignalingError as error:
            note_refusal(self._counters, self._protocol, error, remote)
            raise
        except Exception as error:  # noqa: BLE001 - it is logged, but for its text
            log_hidden(error, protocol=self._protocol, remote=remote)
            raise errors.internal_error() from None
        if not isinstance(identity, Pending):
            return identity

        def noted(outcome: Identity | SignalingError, _: Instant) -> Identity | SignalingError:
            if isinstance(outcome, SignalingError):
                note_refusal(self._counters, self._protocol, outcome, remote)
            return outcome

        return identity.followed_by(noted)


def _identity_of_certificate(credentials: Credentials) -> Identity:
    """Returns the identity of a certificate's subject, or `ANYBODY` if there is none."""
    subject = credentials.certificate_subject
    return Identity(subject, source="cert") if subject else ANYBODY


def token_digest(token: str) -> bytes:
    """Returns the SHA-256 digest of a token; bytes of it that are no UTF-8 count as they are."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
