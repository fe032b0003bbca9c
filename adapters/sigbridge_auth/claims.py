"""The claims of a JWT whose signature is good, and the identity that they make.

Rule 1: a claim that is here is of its type, or the token is refused; none is converted. Rule 2: times are finite JSON
numbers, and are compared with the leeway that the settings give. Rule 3: a reason names a claim and never says what it
holds. Source: RFC 7519, and `docs/security.md`.
"""

import itertools
import sys
from typing import Any, Final

from sigbridge import Instant, SignalingError
from sigbridge.auth import ALL_RIGHTS, Identity
from sigbridge.checks import MAX_ID_BYTES, check_id
from sigbridge.patterns import MAX_PATTERN_BYTES, MAX_PATTERNS, Patterns
from sigbridge.settings import Settings
from sigbridge_auth.verdicts import BadToken


class ClaimRules:
    """The checks of claims that the settings ask for."""

    def __init__(self, settings: Settings) -> None:
        self._issuers: Final = frozenset(settings.jwt_issuer)
        self._audiences: Final = frozenset(settings.jwt_audience)
        self._leeway_seconds: Final = settings.jwt_leeway_seconds
        self._peer_ids: Final = settings.jwt_peer_ids

    def identity(self, claims: dict[str, Any], proof: str, now: Instant) -> Identity:
        """Returns the identity that the claims make; `proof` names the key that signed them.

        :raises BadToken: if the claims are refused.
        """
        expires_at = self._check_times(claims, now)
        issuer = self._issuer(claims)
        self._check_audience(claims)
        subject = _name(claims, "sub")
        peer_ids = _patterns(claims, "peer_id", "peer_ids")
        return Identity(
            subject=subject,
            peer_ids=Patterns(self._peer_ids, subject=subject) if peer_ids is None else peer_ids,
            rooms=_patterns(claims, "room", "rooms"),
            rights=_rights(claims),
            source="jwt",
            issuer=issuer,
            expires_at=expires_at,
            leeway_seconds=self._leeway_seconds,
            proof=proof,
            name=_identity_name(issuer, subject),
        )

    def _check_times(self, claims: dict[str, Any], now: Instant) -> float:
        """Returns the token's end.

        :raises BadToken: if it has passed, or a beginning has not come.
        """
        expires_at = _time(claims, "exp")
        if expires_at is None:
            raise BadToken("it has no exp")
        if now.unix >= expires_at + self._leeway_seconds:
            raise BadToken("it has expired")
        for name in ("nbf", "iat"):
            begins_at = _time(claims, name)
            if begins_at is not None and begins_at > now.unix + self._leeway_seconds:
                raise BadToken(f"its {name} is in the future")
        return expires_at

    def _issuer(self, claims: dict[str, Any]) -> str:
        """Returns the issuer; "" if the token names none and none is required.

        :raises BadToken: if it is none of those required
        """
        if "iss" not in claims and not self._issuers:
            return ""
        issuer = _name(claims, "iss")
        if self._issuers and issuer not in self._issuers:
            raise BadToken("its iss is not in SIGNALING_JWT_ISSUER")
        return issuer

    def _check_audience(self, claims: dict[str, Any]) -> None:
        """Checks the audience, if the settings ask for one.

        :raises BadToken: if none of the token's is theirs.
        """
        if not self._audiences:
            return
        said = _texts(claims, "aud")
        if said is None:
            raise BadToken("it has no aud")
        if self._audiences.isdisjoint(said):
            raise BadToken("its aud is not in SIGNALING_JWT_AUDIENCE")


def _time(claims: dict[str, Any], name: str) -> float | None:
    """Returns a claim that is a time (Unix seconds), or None if it is absent.

    :raises BadToken: if it is no finite number.
    """
    if name not in claims:
        return None
    said = claims[name]
    # A bool is an int to Python, and no number to JSON.
    if type(said) not in (int, float):
        raise BadToken(f"its {name} is not a number")
    # A whole number may be too large to be made a float, but not to be compared with one.
    if not abs(said) <= sys.float_info.max:
        raise BadToken(f"its {name} is not finite")
    return float(said)


def _identity_name(issuer: str, subject: str) -> str:
    """Returns the name of the identity, in which the last slash, if any, stands between issuer and subject.

    An issuer's users may choose their subjects, and none of them may be taken for a user of another issuer.
    """
    subject = subject.replace("%", "%25").replace("/", "%2F")
    return f"jwt:{issuer}/{subject}" if issuer else f"jwt:{subject}"


def _name(claims: dict[str, Any], name: str) -> str:
    """Returns a claim that names somebody.

    :raises BadToken: if it would be no id of a peer.
    """
    if name not in claims:
        raise BadToken(f"it has no {name}")
    said = claims[name]
    if not isinstance(said, str):
        raise BadToken(f"its {name} is not a string")
    if not _is_id(said):
        raise BadToken(f"its {name} is empty, longer than {MAX_ID_BYTES} bytes, or holds control characters")
    return said


def _is_id(text: str) -> bool:
    """Returns whether a text may be the id of a peer."""
    try:
        check_id("", text)
    except (SignalingError, UnicodeEncodeError):
        return False
    return True


def _patterns(claims: dict[str, Any], *names: str) -> Patterns | None:
    """Returns the patterns of all these claims together; None if the token has none of them.

    :raises BadToken: if they are too many, or one is too long
    """
    said = [texts for texts in (_texts(claims, name) for name in names) if texts is not None]
    if not said:
        return None
    try:
        return Patterns(itertools.chain(*said))
    except ValueError:
        pass
    raise BadToken(f"its {names[1]} are more than {MAX_PATTERNS}, or one is longer than {MAX_PATTERN_BYTES} bytes")


def _texts(claims: dict[str, Any], name: str) -> list[str] | None:
    """Returns the texts of a claim that is a text or a list of texts; None if the token has no such claim.

    :raises BadToken: if it is anything else
    """
    if name not in claims:
        return None
    said = claims[name]
    texts = [said] if isinstance(said, str) else said
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadToken(f"its {name} is neither a string nor a list of strings")
    return texts


def _rights(claims: dict[str, Any]) -> frozenset[str]:
    """Returns the rights of a claim that exist; all rights if the claim is absent.

    :raises BadToken: if it is no list of texts.
    """
    if isinstance(claims.get("rights"), str):
        raise BadToken("its rights are not a list of strings")
    said = _texts(claims, "rights")
    return ALL_RIGHTS if said is None else ALL_RIGHTS.intersection(said)
