"""JWTs that tests sign, as identity providers do and as attackers do; keys, and the files that they stand in.

Nothing here is ours: a header is written as it is given, whatever it says, and PyJWT signs.
"""

import base64
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from jwt.algorithms import get_default_algorithms

from clock import NOW
from sigbridge import Settings
from sigbridge_auth.verdicts import BadToken

SECRET = b"a secret of 64 bytes, which is as long as HS512 would have it be"
MARK = "alice"
"""Word that stands in every token, and in no reason for a refusal."""
CLAIMS = {"sub": MARK, "exp": NOW.unix + 60}
"""Claims that a token must have at least."""

_ALGORITHMS: Any = get_default_algorithms()


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def json_bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


class Signer:
    """One who signs by a private key or a secret."""

    def __init__(self, algorithm: str, private: Any) -> None:
        self.algorithm = algorithm
        self.private = private

    def signature(self, signed: str, algorithm: str = "") -> bytes:
        made: bytes = _ALGORITHMS[algorithm or self.algorithm].sign(signed.encode(), self.private)
        return made

    def token(self, claims: Any = CLAIMS, *, by: str = "", **header: Any) -> str:
        """A token with these claims (as bytes, exactly these), signed by the algorithm `by`, and with this header."""
        head = {"alg": by or self.algorithm, "typ": "JWT"} | header
        return self.raw(json_bytes(head), json_bytes(claims), by=by)

    def raw(self, header: bytes, claims: bytes, *, by: str = "") -> str:
        signed = f"{base64url(header)}.{base64url(claims)}"
        return f"{signed}.{base64url(self.signature(signed, by))}"

    @property
    def pem(self) -> bytes:
        pem: bytes = self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return pem

    @property
    def private_pem(self) -> bytes:
        pem: bytes = self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return pem

    def jwk(self, **members: Any) -> dict[str, Any]:
        """The public key as a JWK, with these members besides, or without those that are None here."""
        jwk = _ALGORITHMS[self.algorithm].to_jwk(self.private.public_key(), as_dict=True)
        jwk.pop("key_ops", None)
        return {name: value for name, value in (jwk | members).items() if value is not None}


@cache
def signer(algorithm: str, which: int = 0) -> Signer:
    """One who signs by that algorithm; with another number another one, as far as that is cheap."""
    if algorithm.startswith("HS"):
        return Signer(algorithm, SECRET + b"!" * which)
    if algorithm[:2] in ("RS", "PS"):
        return Signer(algorithm, _rsa_key(which))
    if algorithm == "Ed448":
        return Signer("EdDSA", ed448.Ed448PrivateKey.generate())
    if algorithm == "EdDSA":
        return Signer("EdDSA", ed25519.Ed25519PrivateKey.generate())
    curve = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1, "ES256K": ec.SECP256K1}[algorithm]
    return Signer(algorithm, ec.generate_private_key(curve()))


@cache
def _rsa_key(which: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def public_rsa(bits: int) -> rsa.RSAPublicKey:
    """A public key of RSA of that size to which there is no private one: nobody has chosen its primes."""
    return rsa.RSAPublicNumbers(65537, (1 << bits) - 1).public_key()


def key_file(folder: Path, *keys: Signer | bytes) -> dict[str, str]:
    """A PEM file of public keys, as settings have it."""
    file = folder / "keys.pem"
    file.write_bytes(b"".join(key if isinstance(key, bytes) else key.pem for key in keys))
    return {"jwt_key_file": str(file)}


def jwks_file(folder: Path, *jwks: Any) -> dict[str, str]:
    """A JWK set, likewise."""
    file = folder / "jwks.json"
    file.write_text(json.dumps({"keys": jwks}))
    return {"jwt_jwks_file": str(file)}


def secret_file(folder: Path, data: bytes = SECRET + b"\n") -> dict[str, str]:
    """A file of secrets, likewise."""
    file = folder / "secrets"
    file.write_bytes(data)
    return {"jwt_hmac_secret_file": str(file)}


def jwt_settings(files: dict[str, str], **others: Any) -> Settings:
    return Settings(**files, **others)


def reason(source: Any, token: str, kind: type[BadToken] = BadToken) -> str:
    """Reason why a token is refused, for the log; asserts that nothing of the token can be found out from it."""
    with pytest.raises(BadToken) as caught:
        source.verify(token, NOW)
    error = caught.value
    assert type(error) is kind
    # What led to an error is kept with it, such as JSON's, which holds the whole text.
    assert error.__cause__ is None
    assert error.__context__ is None
    assert source.cached(token, NOW) is None
    text = str(error)
    for word in (MARK, *(part for part in token.split(".") if len(part) > 3)):
        assert word not in text
    return text
