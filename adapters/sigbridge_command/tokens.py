"""`sigbridge token`: making a JWT, writing an entry of a token file, and looking at a token as a server would.

Rule 1: keys, secrets and tokens come from files, the environment or stdin, never from a command line, where others
could read them; what a server would only tell its log is told here, to whoever has its settings. Rule 2: a token is
judged by the authenticator that a server has, and by nothing else. Rule 3: what cannot be done is one line and exit
code 2, so that 1 means: the token is refused.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Container
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

from sigbridge.auth import Credentials, Identity, token_digest
from sigbridge.checks import MAX_ID_BYTES, MAX_TOKEN_BYTES
from sigbridge.errors import SigbridgeError, SignalingError
from sigbridge.patterns import Patterns
from sigbridge.pending import Pending
from sigbridge.settings import Settings
from sigbridge_command.access_files import token_of
from sigbridge_command.errors import UsageError
from sigbridge_command.printable import printable
from sigbridge_command.standard_streams import complain
from sigbridge_net.access import read_token
from sigbridge_net.clock import read_clock

_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST_LIFETIME_SECONDS: Final = 10 * 366 * 86400
_MAX_READ: Final = 65536

_Deed: TypeAlias = Callable[[], int]


def create(options: argparse.Namespace) -> int:
    """Prints a JWT."""
    return _exit_code(lambda: _create(options))


def entry(options: argparse.Namespace) -> int:
    """Prints a line of a token file."""
    return _exit_code(lambda: _entry(options))


def check(options: argparse.Namespace, read_settings: Callable[[], Settings]) -> int:
    """Prints what a token allows (exit code 0), or why it is refused (1)."""
    return _exit_code(lambda: _check(options, read_settings()))


def _exit_code(deed: _Deed) -> int:
    """Returns the exit code of a deed; 2, and a line on stderr, if it raises an error of ours."""
    try:
        return deed()
    except BrokenPipeError:
        raise
    except (SigbridgeError, OSError) as error:
        complain(f"sigbridge: {error}")
        return 2


# Making one.


def _create(options: argparse.Namespace) -> int:
    """Prints a JWT of the options; returns 0.

    :raises UsageError: if an option is wrong, or the token too long.
    """
    import jwt

    key, algorithm = _signing_key(options.key_file)
    now = int(read_clock().unix)
    begin = now if options.not_before is None else _moment("--not-before", options.not_before)
    claims: dict[str, Any] = {"sub": _name("--subject", options.subject), "iat": now}
    if options.not_before is not None:
        claims["nbf"] = begin
    claims["exp"] = begin + _lifetime(options.lifetime)
    if options.issuer is not None:
        claims["iss"] = _name("--issuer", options.issuer)
    if options.audience:
        claims["aud"] = [_name("--audience", audience) for audience in options.audience]
    claims |= _rights(options)
    headers = None if options.kid is None else {"kid": _name("--kid", options.kid)}
    token = jwt.encode(claims, key, algorithm=algorithm, headers=headers)
    if len(token) > MAX_TOKEN_BYTES:
        raise UsageError(f"the token has {len(token)} bytes, and servers refuse more than {MAX_TOKEN_BYTES}: say less")
    print(token)
    return 0


def _signing_key(path: str) -> tuple[Any, str]:
    """Returns the key or secret of a file, and the algorithm that follows from it.

    :raises UsageError: if it signs nothing.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"--key-file is {path!r}: cannot be read ({error.strerror})") from None
    if b"-----BEGIN " in data:
        return _private_key(path, data)
    return _first_secret(path, data), "HS256"


def _private_key(path: str, data: bytes) -> tuple[Any, str]:
    """Returns the private key of PEM data, and its algorithm.

    :raises UsageError: if it cannot sign JWTs.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from sigbridge_auth.keys import MIN_RSA_BITS

    if b"PRIVATE KEY-----" not in data:
        raise _no_key(path, "holds no private key: expected the one by whose public half the server checks")
    try:
        key = load_pem_private_key(data, None)
    except TypeError:
        raise _no_key(path, "is encrypted: expected a private key without a password") from None
    except (ValueError, UnsupportedAlgorithm):
        raise _no_key(path, "cannot be read: expected one private key in PEM") from None
    if isinstance(key, RSAPrivateKey):
        if key.key_size < MIN_RSA_BITS:
            raise _no_key(path, f"has {key.key_size} bits, and servers refuse it: expected {MIN_RSA_BITS} or more")
        return key, "RS256"
    if isinstance(key, EllipticCurvePrivateKey):
        algorithm = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}.get(key.curve.name)
        if algorithm is not None:
            return key, algorithm
    if isinstance(key, Ed25519PrivateKey | Ed448PrivateKey):
        return key, "EdDSA"
    raise _no_key(path, "is of a kind that cannot sign JWTs: expected RSA, P-256, P-384, P-521 or Ed25519")


def _first_secret(path: str, data: bytes) -> bytes:
    """Returns the first secret of a file.

    :raises UsageError: if it is too short, or a key.
    """
    from sigbridge_auth.keys import MIN_SECRET_BYTES

    if data.lstrip().startswith((b"{", b"ssh-")):
        raise _no_key(path, "is neither PEM nor a secret: expected a private key in PEM, or secrets, one a line")
    secret = next((line.removesuffix(b"\r") for line in data.split(b"\n") if line.strip()), b"")
    if len(secret) < MIN_SECRET_BYTES:
        raise _no_key(
            path,
            f"begins with a secret of {len(secret)} bytes: expected {MIN_SECRET_BYTES} or more; "
            "`openssl rand -hex 32` makes one",
        )
    return secret


def _no_key(path: str, what: str) -> UsageError:
    return UsageError(f"--key-file is {path!r}, which {what}")


# Writing one down.


def _entry(options: argparse.Namespace) -> int:
    """Prints a line of a token file of the options; returns 0.

    :raises UsageError: if there is no token, or an option is wrong.
    """
    token = _read(options.token_file)
    if not token.isprintable():
        raise UsageError("the token cannot be sent in a header: expected one line of printable text")
    members: dict[str, Any] = {"token_sha256": token_digest(token).hex()}
    if options.subject is not None:
        members["subject"] = _name("--subject", options.subject)
    members |= _rights(options)
    if options.lifetime is not None:
        end = datetime.fromtimestamp(int(read_clock().unix) + _lifetime(options.lifetime), UTC)
        members["expires"] = end.strftime("%Y-%m-%dT%H:%M:%SZ")
    print(json.dumps(members))
    return 0


# Looking at one.


def _check(options: argparse.Namespace, settings: Settings) -> int:
    """Prints what a token allows or why it is refused; returns the exit code.

    :raises UsageError: if the settings have no source of tokens.
    """
    if not settings.has_tokens:
        raise UsageError(
            "these settings have no source of tokens: expected SIGNALING_TOKENS_FILE, keys of JWTs or "
            "GRPC_AUTH_TOKENS, in the environment, by --env-file or by --config"
        )
    outcome = _identity_or_refusal(_read(options.token_file), settings)
    if isinstance(outcome, str):
        print(json.dumps({"good": False, "reason": outcome}) if options.json else f"refused: {outcome}")
        return 1
    facts = _facts(outcome, settings)
    print(json.dumps(facts) if options.json else _for_people(facts))
    return 0


def _identity_or_refusal(token: str, settings: Settings) -> Identity | str:
    """Returns the identity that a server with these settings would give a token, or the reason for refusing it."""
    from sigbridge_auth.authenticators import TokenAuthenticator
    from sigbridge_auth.sources import Sources

    authenticator = TokenAuthenticator(Sources(settings), asked=True)
    try:
        identity = authenticator.authenticate(Credentials(token), read_clock())
    except SignalingError as refused:
        # What a server tells its log alone.
        return refused.detail or refused.message
    if isinstance(identity, Pending):
        raise TypeError("an authenticator without a look at its files has nothing to wait for")
    return identity


def _facts(identity: Identity, settings: Settings) -> dict[str, Any]:
    """Returns an identity's owner, rights and end as one JSON object."""
    return {
        "good": True,
        "source": identity.source or "shared",
        "issuer": identity.issuer,
        "subject": identity.subject,
        "peer_ids": _texts(identity.peer_ids),
        "reserved_peer_ids": list(settings.reserved_peer_ids) if identity.peer_ids is None else [],
        "rooms": _texts(identity.rooms),
        "rights": sorted(identity.rights),
        "expires_at": identity.expires_at,
        "leeway_seconds": identity.leeway_seconds,
        "certificate_needed": bool(settings.tls_client_ca_file),
    }


def _texts(allowed: Container[str] | None) -> list[str] | None:
    """Returns patterns as they are written; `None` where all is allowed."""
    if allowed is None:
        return None
    if isinstance(allowed, Patterns):
        return allowed.texts
    return sorted(allowed) if isinstance(allowed, frozenset) else [repr(allowed)]


def _for_people(facts: dict[str, Any]) -> str:
    """Returns the facts as lines for people."""
    sources = {"jwt": "a JWT", "token": "the token file", "shared": "GRPC_AUTH_TOKENS"}
    peer_ids = _listed(facts["peer_ids"])
    if facts["reserved_peer_ids"]:
        peer_ids += f" but {', '.join(map(printable, facts['reserved_peer_ids']))}"
    rows = {
        "source": sources[facts["source"]],
        "issuer": printable(facts["issuer"]),
        "subject": printable(facts["subject"]) or "none",
        "peer ids": peer_ids,
        "rooms": _listed(facts["rooms"]),
        "rights": ", ".join(facts["rights"]) or "none",
        "expires": _end_text(facts["expires_at"], facts["leeway_seconds"]),
        "besides": "a certificate of the authority of SIGNALING_TLS_CLIENT_CA_FILE"
        if facts["certificate_needed"]
        else "",
    }
    return "\n".join(["good", *(f"  {name:<10}{value}" for name, value in rows.items() if value)])


def _listed(texts: list[str] | None) -> str:
    if texts is None:
        return "any"
    return ", ".join(printable(text) or "the default room" for text in texts) or "none"


def _end_text(expires_at: float | None, leeway_seconds: float) -> str:
    """Returns the end of a token for people."""
    if expires_at is None:
        return "never"
    try:
        said = datetime.fromtimestamp(expires_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        said = f"{expires_at:g} (Unix seconds)"
    return said + (f", and {leeway_seconds:g} s of leeway" if leeway_seconds else "")


# What options and files say.


def _read(token_file: str | None) -> str:
    """Returns the token of a file, of the environment or of stdin.

    :raises UsageError: if there is none.
    """
    if token_file is not None:
        return token_of(token_file)
    token = read_token(None)
    if token is None and not sys.stdin.isatty():
        try:
            token = sys.stdin.buffer.read(_MAX_READ).decode().strip()
        except UnicodeDecodeError:
            raise UsageError("stdin holds no token: expected text in UTF-8") from None
    if not token:
        raise UsageError("there is no token: expected one in --token-file, in SIGBRIDGE_TOKEN, or on stdin")
    return token


def _rights(options: argparse.Namespace) -> dict[str, list[str]]:
    """Returns the members about peer ids, rooms and rights, which JWTs and token files share.

    :raises UsageError: if an option is wrong.
    """
    members: dict[str, list[str]] = {}
    for name, option, texts in (("peer_ids", "--peer-id", options.peer_id), ("rooms", "--room", options.room)):
        if texts:
            try:
                Patterns(texts)
                "".join(texts).encode()
            except UnicodeEncodeError:
                raise UsageError(f"{option}: expected text in UTF-8") from None
            except ValueError as error:
                raise UsageError(f"{option}: {error}") from None
            members[name] = texts
    if options.right:
        members["rights"] = sorted(set(options.right) - {"none"})
        if "none" in options.right and members["rights"]:
            raise UsageError("--right is none and another: expected either")
    return members


def _name(option: str, text: str) -> str:
    if not text or not text.isprintable() or len(text.encode(errors="replace")) > MAX_ID_BYTES:
        raise UsageError(f"{option}: expected printable text of at most {MAX_ID_BYTES} bytes")
    return text


def _lifetime(text: str) -> int:
    """Returns the seconds of a text such as 90s or 1h.

    :raises UsageError: if it is malformed, or longer than ten years.
    """
    said = re.fullmatch(r"([0-9]{1,10})([smhd]?)", text)
    seconds = int(said[1]) * _UNITS[said[2]] if said else 0
    if not 0 < seconds <= _LONGEST_LIFETIME_SECONDS:
        raise UsageError(f"--lifetime is {text!r}: expected a time such as 90s, 15m, 1h or 30d, ten years at most")
    return seconds


def _moment(option: str, text: str) -> int:
    """Returns the Unix seconds of a text.

    :raises UsageError: if it is no time with a zone.
    """
    if re.fullmatch(r"[0-9]{1,11}", text):
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise UsageError(f"{option} is {text!r}: expected a time such as 2027-01-31T08:00:00Z, or Unix seconds")
    return int(moment.timestamp())
