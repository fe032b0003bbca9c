"""The keys by which JWTs are checked, and the files that they stand in.

Rule 1: a key knows the algorithms that fit it; a token chooses among these and among no others, so `none` and a public
key taken for a secret cannot be. Rule 2: a key is known by what it is and not by its name: its proof is the thumbprint
of RFC 7638, or for a secret a digest that another process cannot repeat. Rule 3: errors name the variable and the file,
and hold nothing of a key. PyJWT and cryptography, which take a while to load, are imported here and in no other module
of the package: whoever needs no keys does not import this one.
Sources: RFC 7517 (sets of keys), RFC 7518 (algorithms), RFC 7468 (PEM).
"""

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm, RSAPSSAlgorithm
from jwt.exceptions import InvalidKeyError

from sigbridge.settings import SettingError, Settings
from sigbridge_auth.strict_json import read_json

Check: TypeAlias = Callable[[bytes, bytes], bool]
"""Returns whether a signature, the second, is that of a message, by one key and one algorithm."""

MAX_TRIED: Final = 16
"""So many keys are tried for one token at most."""
MIN_SECRET_BYTES: Final = 32
MIN_RSA_BITS: Final = 2048

_HMAC: Final = {
    "HS256": HMACAlgorithm(HMACAlgorithm.SHA256),
    "HS384": HMACAlgorithm(HMACAlgorithm.SHA384),
    "HS512": HMACAlgorithm(HMACAlgorithm.SHA512),
}
_RSA: Final = {
    "RS256": RSAAlgorithm(RSAAlgorithm.SHA256),
    "RS384": RSAAlgorithm(RSAAlgorithm.SHA384),
    "RS512": RSAAlgorithm(RSAAlgorithm.SHA512),
    "PS256": RSAPSSAlgorithm(RSAPSSAlgorithm.SHA256),
    "PS384": RSAPSSAlgorithm(RSAPSSAlgorithm.SHA384),
    "PS512": RSAPSSAlgorithm(RSAPSSAlgorithm.SHA512),
}
_EC: Final = {
    "secp256r1": {"ES256": ECAlgorithm(ECAlgorithm.SHA256)},
    "secp384r1": {"ES384": ECAlgorithm(ECAlgorithm.SHA384)},
    "secp521r1": {"ES512": ECAlgorithm(ECAlgorithm.SHA512)},
}
_OKP: Final = {"EdDSA": OKPAlgorithm()}

_PUBLIC: Final = (*_RSA, *(name for of_curve in _EC.values() for name in of_curve), *_OKP)

_READERS: Final[Mapping[str, Callable[[dict[str, Any]], object]]] = {
    "RSA": RSAAlgorithm.from_jwk,
    "EC P-256": ECAlgorithm.from_jwk,
    "EC P-384": ECAlgorithm.from_jwk,
    "EC P-521": ECAlgorithm.from_jwk,
    "OKP Ed25519": OKPAlgorithm.from_jwk,
    "OKP Ed448": OKPAlgorithm.from_jwk,
}
"""The functions that read a JWK, by its kind and curve."""
_THUMBPRINT_MEMBERS: Final = frozenset(("crv", "e", "kty", "n", "x", "y"))
"""The members of which RFC 7638 makes a thumbprint, of all kinds."""
_PRIVATE_MEMBERS: Final = frozenset(("d", "p", "q", "dp", "dq", "qi", "oth", "priv"))
_BLOCK = re.compile(rb"-----BEGIN ([^-\r\n]+)-----.*?-----END \1-----", re.DOTALL)
_PUBLIC_LABELS: Final = (b"PUBLIC KEY", b"RSA PUBLIC KEY")
_SALT: Final = secrets.token_bytes(32)


class BadKeys(Exception):
    """A file of keys is no good; the text says why."""


class Key:
    """One key, by which signatures are checked and none is made."""

    __slots__ = ("checks", "kid", "proof")

    def __init__(self, proof: str, checks: Mapping[str, Check], kid: str | None = None) -> None:
        self.proof: Final = proof
        """The text by which it is known again, whatever name it comes back under."""
        self.checks: Final = checks
        """Its checks, by the algorithms that fit it."""
        self.kid: Final = kid
        """Its name, which only a set of keys gives."""


class Keys:
    """The keys that count at one time."""

    def __init__(self, keys: Iterable[Key] = (), *, named: bool = False, secret: bool = False) -> None:
        """Sorts keys; `named`: some come from a set, where names may be added; `secret`: they are secrets."""
        every = tuple(keys)
        self.named: Final = named
        self.algorithms: Final = frozenset(_HMAC if secret else _PUBLIC)
        """The algorithms that a token may say, whichever of them these keys have."""
        self.proofs: Final = frozenset(key.proof for key in every)
        nameless = tuple(key for key in every if key.kid is None)
        # Those that are found in no other way come first.
        self._all: Final = nameless + tuple(key for key in every if key.kid is not None)
        self._nameless: Final = nameless
        self._by_kid: Final[dict[str, tuple[Key, ...]]] = {}
        for key in every:
            if key.kid is not None:
                self._by_kid[key.kid] = (*self._by_kid.get(key.kid, ()), key)

    def knows(self, kid: str) -> bool:
        """Returns whether a key has that name."""
        return kid in self._by_kid

    def fitting(self, algorithm: str, kid: str | None) -> list[Key]:
        """Returns the keys that may have made a token's signature, `MAX_TRIED` at most.

        A token without a key's name may be signed by any. One with a name is signed by the keys of that name, or, if
        there is none of it, by one without a name: those who sign give one to every token, and PEM files to no key.
        """
        among = self._all if kid is None else self._by_kid.get(kid, self._nameless)
        return [key for key in among if algorithm in key.checks][:MAX_TRIED]


def read_keys(settings: Settings) -> Keys:
    """Reads the files that the settings name.

    :raises SettingError: if a file is invalid, or holds no key.
    """
    keys: list[Key] = []
    for field, what, read in (
        ("jwt_key_file", "public keys in a PEM file", _pem_keys),
        ("jwt_jwks_file", "a JWK set of public keys (RFC 7517)", _jwks_keys),
        ("jwt_hmac_secret_file", f"secrets of at least {MIN_SECRET_BYTES} bytes, one a line", _secrets),
    ):
        path = getattr(settings, field)
        if path:
            why = _add_keys(keys, path, read)
            if why:
                raise SettingError(f"{settings.infos()[field].env} is {path!r}: expected {what} ({why})")
    return Keys(keys, named=bool(settings.jwt_jwks_file), secret=bool(settings.jwt_hmac_secret_file))


def _add_keys(keys: list[Key], path: str, read: Callable[[bytes], Iterator[Key]]) -> str:
    """Adds the keys of a file; returns why the file is invalid, or an empty text, which never holds a key."""
    try:
        found = list(read(Path(path).read_bytes()))
    except OSError as error:
        return error.strerror or "it cannot be read"
    except BadKeys as error:
        return str(error)
    except ValueError:
        return "it cannot be read"
    keys += found
    if not found:
        return "it holds no key by which a JWT may be signed"
    if sum(key.kid is None for key in keys) > MAX_TRIED:
        return f"there are more than {MAX_TRIED} keys without a kid, and no more are tried"
    return ""


# Public keys.


def _pem_keys(data: bytes) -> Iterator[Key]:
    """Yields the keys of a PEM file; other text between its blocks is skipped.

    :raises BadKeys: if it holds anything but public keys that sign JWTs.
    """
    if b"PRIVATE KEY-----" in data:
        raise BadKeys("it holds a private key")
    blocks = list(_BLOCK.finditer(data))
    if len(blocks) != data.count(b"-----BEGIN "):
        raise BadKeys("a block has no end")
    for place, block in enumerate(blocks, 1):
        if block[1] not in _PUBLIC_LABELS:
            raise BadKeys(f"block {place} is not a public key")
        try:
            public = load_pem_public_key(block[0])
        except (ValueError, UnsupportedAlgorithm):
            raise BadKeys(f"key {place} cannot be read") from None
        key = _public_key(public, place)
        if key is None:
            raise BadKeys(f"key {place} is of a kind that cannot sign JWTs")
        yield key


def _jwks_keys(data: bytes) -> Iterator[Key]:
    """Yields the keys of a JWK set that check signatures; other kinds and uses are skipped.

    :raises BadKeys: if it is no JWK set, or holds a private key.
    """
    try:
        found = read_json(data)
    except ValueError:
        raise BadKeys("it is not JSON") from None
    jwks = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(jwks, list):
        raise BadKeys("it is not an object with a list named keys")
    for place, jwk in enumerate(jwks, 1):
        if not isinstance(jwk, dict):
            raise BadKeys(f"key {place} is not an object")
        key = _jwk_key(jwk, place)
        if key is not None:
            yield key


def _jwk_key(jwk: dict[str, Any], place: int) -> Key | None:
    """Returns the key in a JWK; None if it is of a kind or use that checks no JWT.

    :raises BadKeys: if it is a secret, private, malformed, or cannot be read
    """
    kind, curve = jwk.get("kty"), jwk.get("crv")
    if kind == "oct":
        raise BadKeys(f"key {place} is a secret (oct)")
    if not _PRIVATE_MEMBERS.isdisjoint(jwk):
        raise BadKeys(f"key {place} is private")
    read = _READERS.get(f"{kind}" if kind == "RSA" else f"{kind} {curve}")
    operations = jwk.get("key_ops", ["verify"])
    if read is None or jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None
    kid = jwk.get("kid")
    if "kid" in jwk and not isinstance(kid, str):
        raise BadKeys(f"the kid of key {place} is not a string")
    try:
        public = read(jwk)
    except (ValueError, TypeError, InvalidKeyError, UnsupportedAlgorithm):
        raise BadKeys(f"key {place} cannot be read") from None
    key = _public_key(public, place)
    if key is None:
        return None
    checks = {name: check for name, check in key.checks.items() if jwk.get("alg", name) == name}
    return Key(key.proof, checks, kid) if checks else None


def _public_key(public: object, place: int) -> Key | None:
    """Returns a key with every algorithm that fits it; None for a kind that signs no JWTs.

    :raises BadKeys: if it is an RSA key that is too short
    """
    algorithms: Mapping[str, Any] = {}
    if isinstance(public, RSAPublicKey):
        if public.key_size < MIN_RSA_BITS:
            raise BadKeys(f"key {place} is RSA of {public.key_size} bits, and {MIN_RSA_BITS} are the least")
        algorithms = _RSA
    elif isinstance(public, EllipticCurvePublicKey):
        algorithms = _EC.get(public.curve.name, {})
    elif isinstance(public, Ed25519PublicKey | Ed448PublicKey):
        algorithms = _OKP
    if not algorithms:
        return None
    jwk = next(iter(algorithms.values())).to_jwk(public, as_dict=True)
    required = {name: jwk[name] for name in sorted(_THUMBPRINT_MEMBERS & jwk.keys())}
    text = json.dumps(required, separators=(",", ":"))
    proof = hashlib.sha256(text.encode()).hexdigest()
    return Key(proof, {name: _check_by(algorithm, public) for name, algorithm in algorithms.items()})


# Secrets.


def _secrets(data: bytes) -> Iterator[Key]:
    """Yields the secrets of a file, one a line, without the line's end.

    :raises BadKeys: if a line is too short, or a key and no secret.
    """
    if b"-----BEGIN " in data or data.lstrip().startswith(b"{"):
        # What everybody may know would be taken for a secret.
        raise BadKeys("it holds keys and no secrets")
    for place, line in enumerate(data.split(b"\n"), 1):
        secret = line.removesuffix(b"\r")
        if not secret:
            continue
        if len(secret) < MIN_SECRET_BYTES:
            raise BadKeys(f"line {place} is shorter")
        try:
            _HMAC["HS256"].prepare_key(secret)
        except InvalidKeyError:
            raise BadKeys(f"line {place} is a public key or a JWK, and no secret") from None
        proof = hmac.digest(_SALT, secret, "sha256").hex()
        yield Key(proof, {name: _check_by(algorithm, secret) for name, algorithm in _HMAC.items()})


def _check_by(algorithm: Any, key: Any) -> Check:
    """Returns the function that checks a signature of a message by one algorithm and key."""

    def check(message: bytes, signature: bytes) -> bool:
        good: bool = algorithm.verify(message, key, signature)
        return good

    return check
