"""Feeds tokens that nobody meant, signed as they should be or not: each makes an identity, or is a bad token.

What is taken is compared with what PyJWT takes, which knows the same secret. `python tests/fuzz/fuzz_jwt.py
-max_total_time=60` fuzzes with atheris; `play` is one run of any input.
"""

import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[1] / "shared"))
    import fuzzing

    with fuzzing.instrumenting("sigbridge_auth", "json"):
        import sigbridge_auth.jwt_source  # noqa: F401

import jwt

from clock import NOW
from instructions import instructions
from jwts import CLAIMS, SECRET, base64url, json_bytes, jwt_settings, secret_file, signer
from sigbridge_auth.jwt_source import JwtSource
from sigbridge_auth.verdicts import BadToken

_HEADER = b'{"alg":"HS256"}'
_HEADERS = (
    _HEADER, b'{"alg":"HS512","kid":"a"}', b'{"alg":"none"}', b'{"alg":"HS256","crit":["b64"],"b64":false}', b'{"alg":"HS256","b64":true}',
    b'{"alg":"HS256","kid":5}', b'{"alg":"HS384","jwk":{},"jku":"x"}', b'{"alg":"RS256"}', b'{"alg":["HS256"]}', b"{}",
    b'{"alg":"HS256","alg":"none"}', b'{"alg":"HS\\u0032\\u00356"}',
)  # fmt: skip
_NAMES = (
    b'"exp"', b'"sub"', b'"nbf"', b'"iat"', b'"iss"', b'"aud"', b'"peer_id"', b'"peer_ids"', b'"room"', b'"rooms"', b'"rights"', b'"jti"',
    b'"e\\u0078p"', b'""', b"1",
)  # fmt: skip
_VALUES = (
    b"1700000060", b"1699999970", b"1699999971", b"1700000030", b"1700000030.5", b"0", b"-1", b"-0", b"1e999", b"-1e999", b"1.7e308", b"NaN",
    b"1" + b"0" * 400, b"9" * 4400, b'"1700000060"', b"true", b"null", b'""', b'"alice"', b'"a*"', b'"*"', b'"\\n"', b'"\\u0000"',
    b'"\\ud800"', b'"' + b"x" * 257 + b'"', '"é😀"'.encode(), b'"\xff"', b"[]", b'["a"]', b'["a","*b"]', b"[1]", b"[null]", b"{}", b'{"a":1,"a":2}',
    b"[" + b'"a",' * 64 + b'"a"]', b"[" * 2000, b'["relay","list"]', b'["x"]', b"01", b"", b"Infinity", b"1e300",
)  # fmt: skip

with tempfile.TemporaryDirectory() as folder:
    SOURCE = JwtSource(jwt_settings(secret_file(Path(folder))))
_USUAL = dict(zip((b'"exp"', b'"sub"'), map(json_bytes, (CLAIMS["exp"], CLAIMS["sub"])), strict=True))


def _claims(data: bytes) -> tuple[bytes, bytes]:
    """A header and claims, as instructions have them written."""
    header, members = _HEADER, list(_USUAL.items())
    for kind, choice, length, payload in instructions(data, longest=24):
        name, value = _NAMES[choice % len(_NAMES)], _VALUES[length % len(_VALUES)]
        match kind % 6:
            case 0 | 1:
                members.append((name, value))
            case 2:
                members = [(known, value if known == name else old) for known, old in members]
            case 3:
                members = [(known, old) for known, old in members if known != name]
            case 4:
                header = _HEADERS[choice % len(_HEADERS)]
            case _:
                members.append((name, payload))
    return header, b"{" + b",".join(name + b":" + value for name, value in members) + b"}"


def _token(data: bytes) -> str:
    """A token: the bytes themselves, or signed, or a good one in which they stand."""
    match data[0] % 6 if data else 0:
        case 0:
            return data[1:].decode("utf-8", "surrogateescape")
        case 1:
            return signer("HS256").raw(_HEADER, data[1:])
        case 2:
            return signer("HS256").raw(data[1:], json_bytes(CLAIMS))
        case 3:
            good = signer("HS256").token()
            at = data[1] % len(good) if len(data) > 1 else 0
            return good[:at] + data[2:].decode("latin-1") + good[at + 1 :]
        case 4:
            signed = ".".join(map(base64url, (_HEADER, data[1:])))
            return f"{signed}.{base64url(signer('HS256').signature(signed)[: data[-1] % 33])}"
        case _:
            return signer("HS256").raw(*_claims(data[1:]))


def play(data: bytes) -> None:
    """Takes the bytes for a token, or for instructions that write one; the first says which."""
    token = _token(data)
    SOURCE.put(SOURCE._keys, NOW)
    try:
        identity = SOURCE.verify(token, NOW)
    except BadToken:
        assert SOURCE.cached(token, NOW) is None
        return
    assert SOURCE.cached(token, NOW) is identity
    assert SOURCE.review(identity) is identity
    # The library asks a clock for the present, and looks at claims that mean nothing here.
    options = {f"verify_{name}": False for name in ("exp", "nbf", "iat", "aud", "jti")}
    claims = jwt.decode(token, SECRET, algorithms=["HS256", "HS384", "HS512"], options=options)
    assert claims["sub"] == identity.subject
    assert claims["exp"] == identity.expires_at
    assert claims["exp"] + 30 > NOW.unix
    assert claims.get("iss", "") == identity.issuer
    for pattern in [claims[name] for name in ("peer_id", "room") if name in claims]:
        allowed = identity.peer_ids if pattern is claims.get("peer_id") else identity.rooms
        assert allowed is not None
        assert all(text in allowed for text in ([pattern] if isinstance(pattern, str) else pattern))


if __name__ == "__main__":
    fuzzing.fuzz(play)
