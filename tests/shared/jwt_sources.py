"""Sources of identities by JWTs, and the reasons for which they refuse a token."""

from clock import NOW
from jwts import (
    jwks_file,
    jwt_settings,
    key_file,
    secret_file,
    signer,
)
from sigbridge import Instant
from sigbridge_auth.jwt_source import JwtSource

PUBLIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed448")
ALGORITHMS = (*PUBLIC, "HS256", "HS384", "HS512")
WRONG = "its signature is wrong"
NO_ALGORITHM = "its alg is not supported"
NO_FIT = "its alg fits none of the keys that may have signed it"


def later(seconds: float) -> Instant:
    return Instant(NOW.monotonic + seconds, NOW.unix + seconds)


def source_of(folder, *names: str, **others) -> JwtSource:
    """A source that knows those who sign by these algorithms, from the kind of file that is usual for them."""
    if names[0].startswith("HS"):
        return JwtSource(jwt_settings(secret_file(folder), **others))
    return JwtSource(jwt_settings(key_file(folder, *map(signer, names)), **others))


def named(folder, **names: str) -> JwtSource:
    """A source with a JWK set, in which each name is that of one who signs by an algorithm."""
    return JwtSource(jwt_settings(jwks_file(folder, *(signer(by).jwk(kid=kid) for kid, by in names.items()))))


def is_good(source: JwtSource, token: str) -> bool:
    return source.verify(token, NOW).subject == "alice"
