"""The sources of identities that a server is set up with, which its protocols share.

Rule 1: exact matches come first: the token file, the shared tokens, the JWTs that were found good before; then the
signature of a JWT. Rule 2: where a certificate is shown beside a token, its peer id and its end hold too, whomever the
token names. Rule 3: who shows nothing and is asked for nothing is nobody in particular, with what is set for those.
"""

from typing import Any, Final

from sigbridge.addresses import AddressSet
from sigbridge.auth import ALL_RIGHTS, ANYBODY, Certificate, Identity, StaticTokens
from sigbridge.instant import Instant
from sigbridge.patterns import Patterns
from sigbridge.settings import Settings
from sigbridge_auth.guessing import Guesses
from sigbridge_auth.jwt_source import JwtSource
from sigbridge_auth.token_file import TokenFile
from sigbridge_auth.verdicts import BadToken

CERTIFICATE: Final = "cert"


class Sources:
    """All sources of a server, and the wrong tokens that were shown to it."""

    def __init__(self, settings: Settings) -> None:
        """Reads the files that are set.

        :raises SettingError: if a file is invalid.
        """
        self.has_tokens: Final = settings.has_tokens
        """False where no token proves anything, so that what is shown is ignored."""
        self.certificate_is_enough: Final = settings.certificate_is_enough
        self.anonymous: Final = _anonymous(settings)
        """The identity of those who show nothing and are asked for nothing."""
        self.guesses: Final = Guesses(AddressSet(settings.trusted_proxies))
        self.jwt: Final = JwtSource(settings) if settings.has_jwt_keys else None
        self._token_file: Final = TokenFile(settings.tokens_file) if settings.tokens_file else None
        self._shared: Final = StaticTokens(settings.auth_tokens) if settings.auth_tokens else None
        self._subject_is_peer_id: Final = settings.tls_subject_peer_id
        self.reloadables: Final = tuple(
            ReviewedSource(source, self.guesses) for source in (self._token_file, self.jwt) if source is not None
        )
        """The sources that are made of files, which may change."""

    def known(self, token: str, now: Instant) -> Identity | None:
        """Returns the identity of a token that is known without checking a signature; None for other tokens.

        :raises BadToken: if the token is known and has expired.
        """
        identity = None if self._token_file is None else self._token_file.identify(token, now)
        if identity is not None:
            return identity
        if self._shared is not None and self._shared.knows(token):
            return ANYBODY
        return None if self.jwt is None else self.jwt.cached(token, now)

    def certified(self, certificate: Certificate, now: Instant) -> Identity:
        """Returns the identity of a certificate.

        :raises BadToken: if it has no subject, or has expired on a long connection.
        """
        subject, end = certificate.subject, certificate.expires_at
        if not subject:
            raise BadToken("the certificate has no name")
        if end is not None and end <= now.unix:
            raise BadToken("the certificate has expired")
        peer_ids = frozenset((subject,)) if self._subject_is_peer_id else None
        return Identity(subject, peer_ids, source=CERTIFICATE, expires_at=end)


class JoinedProof:
    """The two identities that one is made of: a token's, and that of the certificate beside it."""

    __slots__ = ("certificate", "token")

    def __init__(self, token: Identity, certificate: Identity) -> None:
        self.token = token
        self.certificate = certificate


def joined(token: Identity, certificate: Identity) -> Identity:
    """Returns the identity of a client that has shown a token and a certificate.

    It is the token's if that names somebody, else the certificate's, with the rooms and rights of the token, the peer
    ids that both allow, and the earlier of both ends.
    """
    if token is ANYBODY:
        return certificate
    named = token if token.subject else certificate
    peer_ids = token.peer_ids
    if isinstance(certificate.peer_ids, frozenset):
        own = certificate.peer_ids
        peer_ids = own if peer_ids is None else frozenset(peer_id for peer_id in own if peer_id in peer_ids)
    first = min(
        (end for end in (token, certificate) if end.expires_at is not None), key=_last_valid_second, default=token
    )
    return Identity(
        named.subject,
        peer_ids,
        token.rooms,
        token.rights,
        named.source,
        named.issuer,
        first.expires_at,
        first.leeway_seconds,
        JoinedProof(token, certificate),
        # Made of its parts again, the name might be another issuer's.
        named.name,
    )


def _last_valid_second(identity: Identity) -> float:
    """Returns when a proof ends, its leeway included (Unix seconds)."""
    return (identity.expires_at or 0.0) + identity.leeway_seconds


class ReviewedSource:
    """A source that is made of files, with what others must know when these have changed."""

    def __init__(self, source: TokenFile | JwtSource, guesses: Guesses) -> None:
        self._source = source
        self._guesses = guesses

    @property
    def paths(self) -> tuple[str, ...]:
        """The files that it is made of."""
        return self._source.paths

    def read(self) -> Any:
        """Reads the files, in any thread, and changes nothing.

        :raises SettingError: if a file is invalid.
        """
        return self._source.read()

    def put(self, content: Any, now: Instant) -> None:
        """Lets what `read` returned count from now on."""
        self._source.put(content, now)
        self._guesses.reconsider(now.monotonic)

    def review(self, identity: Identity) -> Identity | None:
        """Returns the identity as it is now, itself if nothing has changed.

        None if its proof is gone, or allows less.
        """
        proof = identity.proof
        if not isinstance(proof, JoinedProof):
            return self._source.review(identity)
        token = self._source.review(proof.token)
        if token is None:
            return None
        return identity if token is proof.token else joined(token, proof.certificate)


def _anonymous(settings: Settings) -> Identity:
    """Returns the identity of clients that show nothing, as the settings limit it."""
    identity = Identity(
        "",
        Patterns(settings.anonymous_peer_ids) if settings.anonymous_peer_ids else None,
        Patterns(settings.anonymous_rooms) if settings.anonymous_rooms else None,
        ALL_RIGHTS & frozenset(settings.anonymous_rights),
    )
    return ANYBODY if identity == ANYBODY else identity
