"""JWTs as a source of identities: the form of a token, its signature, and those that were found good before.

Rule 1: what a token says of keys is a name (`kid`) and an algorithm, and both only choose among the keys of the files.
Rule 2: its claims are not read before its signature is found good. Rule 3: a reason for the log holds nothing of it.
PyJWT does the cryptography, through `keys.py`, which is imported as soon as a source is made and not before; all else
is read here, since PyJWT is laxer than `docs/security.md` (it takes `exp` as a text) and stricter (it refuses `aud`
where none is asked for). Sources: RFC 7515, RFC 7519, RFC 8725.
"""

import base64
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sigbridge import Instant, Settings
from sigbridge.auth import Identity
from sigbridge.checks import MAX_TOKEN_BYTES
from sigbridge_auth.claims import ClaimRules
from sigbridge_auth.strict_json import read_json
from sigbridge_auth.verdicts import BadToken, UnknownKey

if TYPE_CHECKING:
    from sigbridge_auth.keys import Key, Keys

MAX_CACHED: Final = 4096

Gate: TypeAlias = Callable[[int, bool], None]
"""Is told before so many signatures are checked for one token, and whether it names a key that is not here."""


def _allow_checks(signatures: int, unknown: bool) -> None:
    """Lets every signature be checked."""


class JwtSource:
    """Checks JWTs by the keys of files, and remembers which were good."""

    def __init__(self, settings: Settings) -> None:
        """Reads the files of keys.

        :raises SettingError: if a file is invalid.
        """
        self._settings = settings
        self._rules = ClaimRules(settings)
        self._keys: Keys = self.read()
        self._cache: OrderedDict[bytes, Identity] = OrderedDict()
        """The identities of good tokens by their digests, the most recently used last."""
        files = (settings.jwt_key_file, settings.jwt_jwks_file, settings.jwt_hmac_secret_file)
        self.paths: Final = tuple(file for file in files if file)
        """The files that it is made of."""

    def cached(self, token: str, now: Instant) -> Identity | None:
        """Returns the identity of a token that was found good before and has not expired; None if it is not known."""
        if len(token) > MAX_TOKEN_BYTES:
            return None
        digest = _digest(token)
        identity = self._cache.get(digest)
        if identity is None:
            return None
        if _has_ended(identity, now):
            del self._cache[digest]
            return None
        self._cache.move_to_end(digest)
        return identity

    def verify(self, token: str, now: Instant, gate: Gate = _allow_checks) -> Identity:
        """Returns the identity that a token proves; its signature is checked, and it is remembered as known.

        `gate` is called before a signature is checked, and what it raises is raised here.

        :raises BadToken: if the token proves no identity.
        :raises UnknownKey: if its key is not among those read.
        """
        signed, claims_part, signature, header = _parts(token)
        key = self._signer(header, signed, signature, gate)
        claims = _json_object(claims_part)
        if claims is None:
            raise BadToken("its claims are not a JSON object")
        identity = self._rules.identity(claims, key.proof, now)
        digest = _digest(token)
        self._cache[digest] = identity
        self._cache.move_to_end(digest)
        if len(self._cache) > MAX_CACHED:
            self._cache.popitem(last=False)
        return identity

    def read(self) -> "Keys":
        """Reads the files, in any thread, and changes nothing.

        :raises SettingError: if a file is invalid.
        """
        # Where no JWTs are set, no library that reads keys is loaded.
        from sigbridge_auth.keys import read_keys

        return read_keys(self._settings)

    def put(self, content: "Keys", now: Instant) -> None:
        """Lets the keys that `read` returned count from now on; tokens are looked at anew."""
        self._keys = content
        self._cache.clear()

    def review(self, identity: Identity) -> Identity | None:
        """Returns the identity as it is by the keys of now: itself, or `None` where its key is gone.

        A key that has another name now is the same. Identities of other sources are returned as they are.
        """
        return identity if identity.source != "jwt" or identity.proof in self._keys.proofs else None

    def _signer(self, header: dict[str, Any], signed: bytes, signature: bytes, gate: Gate) -> "Key":
        """Returns the key that has signed a token; `gate` is asked before signatures are checked.

        :raises BadToken: if its header is invalid, or none of the keys that fit it has signed the token.
        :raises UnknownKey: if its `kid` is not among those read, and none that fits has signed it.
        """
        keys = self._keys
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in keys.algorithms:
            raise BadToken("its alg is not supported")
        if "kid" in header and not isinstance(kid, str):
            raise BadToken("its kid is not a string")
        fitting = keys.fitting(algorithm, kid)
        # A name can be added to a set of keys, and to no other file.
        unknown = kid is not None and keys.named and not keys.knows(kid)
        if fitting:
            gate(len(fitting), unknown)
        for key in fitting:
            if key.checks[algorithm](signed, signature):
                return key
        if unknown:
            raise UnknownKey("its kid is unknown", len(fitting))
        raise BadToken("its signature is wrong" if fitting else "its alg fits none of the keys that may have signed it")


def _parts(token: str) -> tuple[bytes, bytes, bytes, dict[str, Any]]:
    """Returns what is signed of a token, its claims (undecoded), its signature and its header.

    :raises BadToken: if it is not a JWT of three parts.
    """
    if len(token) > MAX_TOKEN_BYTES:
        raise BadToken(f"it is longer than {MAX_TOKEN_BYTES} bytes")
    if not token.isascii():
        raise BadToken("it is not a JWT")
    parts = token.encode().split(b".")
    if len(parts) != 3:
        raise BadToken("it is encrypted (JWE)" if len(parts) == 5 else "it is not a JWT")
    header, signature = _json_object(parts[0]), _bytes(parts[2])
    if header is None or signature is None:
        raise BadToken("its header is not a JSON object, or its signature not Base64")
    if "crit" in header:
        raise BadToken("its header has crit: extensions are not supported")
    if header.get("b64", True) is not True:
        raise BadToken("its header says that its claims are not in Base64")
    return b".".join(parts[:2]), parts[1], signature, header


def _json_object(part: bytes) -> dict[str, Any] | None:
    """Returns the JSON object in a part of a token; None where there is none."""
    data = _bytes(part)
    if data is None:
        return None
    try:
        found = read_json(data)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _bytes(part: bytes) -> bytes | None:
    """Returns what a part of a token holds as Base64 for URLs, without padding; None where it is none."""
    try:
        data = base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    except ValueError:
        return None
    # The decoder skips what is no Base64, and bits to spare; so each token can be written in one way.
    return data if base64.urlsafe_b64encode(data).rstrip(b"=") == part else None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _has_ended(identity: Identity, now: Instant) -> bool:
    """Returns whether a token's time is over, the leeway included."""
    return identity.expires_at is not None and now.unix >= identity.expires_at + identity.leeway_seconds
