"""Tokens of a file, each with its owner, peer ids, rooms, rights and end.

Rule 1: the file is good as a whole, or not at all: an unknown member, a duplicate or a bad line refuses all of it.
Rule 2: a token, or a name that may be one, is in no error, in no log line and in no text of an object; in memory there
are digests alone. Rule 3: what a new content does to sessions is decided for each by its own entry: gone or narrowed,
they are revoked; wider, they have it at once. Source: `docs/security.md`.
"""

import math
import re
import tomllib
from collections.abc import Container, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sigbridge.auth import ALL_RIGHTS, Identity, token_digest
from sigbridge.checks import MAX_ID_BYTES, check_id
from sigbridge.errors import SignalingError
from sigbridge.instant import Instant
from sigbridge.patterns import Patterns
from sigbridge.settings import SettingError
from sigbridge_auth.strict_json import read_json
from sigbridge_auth.verdicts import BadToken

VARIABLE: Final = "SIGNALING_TOKENS_FILE"
SOURCE: Final = "token"
MAX_FILE_BYTES: Final = 16 * 1024 * 1024
MAX_ENTRIES: Final = 100_000
MEMBERS: Final = ("token", "token_sha256", "subject", "peer_ids", "rooms", "rights", "expires")

_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_TOML_LINE: Final = re.compile(r"at line (\d+)")

Entries = dict[bytes, Identity]
"""The identities of tokens, by the digests of these."""


class TokenFile:
    """The tokens of a file, as they were when it was last read."""

    def __init__(self, path: str) -> None:
        """Reads the file.

        :raises SettingError: if the file is invalid.
        """
        self.paths = (path,)
        """The files that it is made of."""
        self._entries = self.read()

    def __len__(self) -> int:
        """Returns the number of tokens."""
        return len(self._entries)

    def identify(self, token: str, now: Instant) -> Identity | None:
        """Returns the identity that a token proves; None if it is not in the file.

        A dict finds it in a time that depends on the digest, of which a client that does not know the token can make
        nothing: to get nearer to a digest it would have to find a text for it, and what it learns tells it none.

        :raises BadToken: if it has expired.
        """
        identity = self._entries.get(token_digest(token))
        if identity is not None and identity.expires_at is not None and identity.expires_at <= now.unix:
            raise BadToken("the token of the file has expired")
        return identity

    def read(self) -> Entries:
        """Reads the file, in any thread, and changes nothing.

        :raises SettingError: if the file is invalid.
        """
        (path,) = self.paths
        try:
            with Path(path).open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise _setting_error(path, f"cannot be read ({error.strerror})") from None
        if len(content) > MAX_FILE_BYTES:
            raise _setting_error(path, f"is larger than {MAX_FILE_BYTES} bytes")
        try:
            text = content.decode()
        except UnicodeDecodeError:
            raise _setting_error(path, "is not UTF-8 text") from None
        found: Entries = {}
        places: dict[bytes, str] = {}
        for place, members in _tables(path, text) if path.lower().endswith(".toml") else _json_lines(path, text):
            if len(found) >= MAX_ENTRIES:
                raise _setting_error(path, f"has more than {MAX_ENTRIES} tokens")
            try:
                digest, identity = _entry(members)
            except ValueError as error:
                raise _setting_error(path, f"{place}: {error}") from None
            if digest in found:
                raise _setting_error(path, f"{place}: the same token as in {places[digest]}")
            found[digest], places[digest] = identity, place
        return found

    def put(self, content: Entries, now: Instant) -> None:
        """Lets what `read` returned count from now on."""
        self._entries = content

    def review(self, identity: Identity) -> Identity | None:
        """Returns an identity as the file has it now: itself if nothing has changed or it is of another source.

        None if its entry is gone or allows less.
        """
        if not isinstance(identity.proof, EntryProof):
            return identity
        present = self._entries.get(identity.proof.digest)
        if present is None or _is_narrowed(identity, present):
            return None
        return identity if _compared_fields(identity) == _compared_fields(present) else present


class EntryProof:
    """The entry by which an identity was proven: the digest of its token, which is shown to nobody."""

    __slots__ = ("digest",)

    def __init__(self, digest: bytes) -> None:
        self.digest = digest


# Narrower and wider.


def _compared_fields(identity: Identity) -> tuple[object, ...]:
    """Returns the fields of an identity that are compared when the file was read again."""
    return (identity.subject, identity.peer_ids, identity.rooms, identity.rights, identity.expires_at)


def _is_narrowed(old: Identity, new: Identity) -> bool:
    """Returns whether a new entry allows less than the old one, ends earlier, or is another subject's."""
    return (
        new.subject != old.subject
        or not old.rights <= new.rights
        or not _covers(new.peer_ids, old.peer_ids)
        or not _covers(new.rooms, old.rooms)
        or _expiry_or_inf(new) < _expiry_or_inf(old)
    )


def _covers(new: Container[str] | None, old: Container[str] | None) -> bool:
    """Returns whether all that old patterns match is matched by new ones, as far as these can tell."""
    if new is None:
        return True
    return isinstance(new, Patterns) and isinstance(old, Patterns) and new.covers(old)


def _expiry_or_inf(identity: Identity) -> float:
    """Returns when an identity ends (Unix seconds); infinity if never."""
    return math.inf if identity.expires_at is None else identity.expires_at


# The file.


def _setting_error(path: str, what: str) -> SettingError:
    """Returns the error of a file that cannot be used, with the variable that names it."""
    return SettingError(f"{VARIABLE} is {path!r}: {what}")


def _tables(path: str, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the `[[token]]` tables of TOML, each with its place.

    :raises SettingError: if it is no TOML, or has anything else
    """
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # What else the library says may hold what is written there.
        line = _TOML_LINE.search(str(error))
        raise _setting_error(path, f"line {line[1]}: no TOML" if line else "no TOML") from None
    tables = document.pop("token", [])
    if document or not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise _setting_error(path, "expected [[token]] tables, and nothing else beside them")
    return ((f"table {number}", table) for number, table in enumerate(tables, 1))


def _json_lines(path: str, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the JSON objects of a file that has one on each line, each with its place; skips empty lines and comments.

    :raises SettingError: if another line is no JSON object
    """
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        try:
            members = read_json(stripped.encode())
        except ValueError:
            members = None
        if not isinstance(members, dict):
            raise _setting_error(path, f"line {number}: not a JSON object, or one with a duplicate member")
        yield f"line {number}", members


# An entry. Each function raises ValueError, whose text says what is wrong, and shows nothing of what is there.


def _entry(members: dict[str, Any]) -> tuple[bytes, Identity]:
    """Returns the digest of an entry's token, and the identity that it proves.

    :raises ValueError: if a member is unknown, missing or wrong
    """
    if not members.keys() <= set(MEMBERS):
        raise ValueError(f"an unknown member: expected {', '.join(MEMBERS)}")
    digest = _digest(members)
    identity = Identity(
        _subject(members["subject"]) if "subject" in members else "",
        _patterns(members, "peer_ids"),
        _patterns(members, "rooms"),
        ALL_RIGHTS & set(_texts(members["rights"], "rights")) if "rights" in members else ALL_RIGHTS,
        SOURCE,
        expires_at=_seconds(members["expires"]) if "expires" in members else None,
        proof=EntryProof(digest),
    )
    return digest, identity


def _digest(members: dict[str, Any]) -> bytes:
    """Returns the digest of an entry's token, which stands there itself or as its digest.

    :raises ValueError: if neither does, both do, or it is malformed.
    """
    if ("token" in members) == ("token_sha256" in members):
        raise ValueError("expected either token or token_sha256")
    if "token" in members:
        token = members["token"]
        if not isinstance(token, str) or not token or not token.isprintable() or token != token.strip():
            raise ValueError("token: expected one line of printable text, without spaces around it")
        return token_digest(token)
    digits = members["token_sha256"]
    if not isinstance(digits, str) or not re.fullmatch("[0-9a-fA-F]{64}", digits):
        raise ValueError("token_sha256: expected 64 hexadecimal digits")
    return bytes.fromhex(digits)


def _subject(value: object) -> str:
    """Returns a subject that may be the id of a peer.

    :raises ValueError: if it may not.
    """
    if isinstance(value, str):
        try:
            check_id("", value)
        except (SignalingError, UnicodeEncodeError):
            pass
        else:
            return value
    raise ValueError(f"subject: expected text of at most {MAX_ID_BYTES} bytes, without control characters")


def _texts(value: object, name: str) -> list[str]:
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        return value
    raise ValueError(f"{name}: expected a list of texts")


def _patterns(members: dict[str, Any], name: str) -> Patterns | None:
    """Returns the patterns of a member of an entry; None if it is absent.

    :raises ValueError: if they are malformed.
    """
    if name not in members:
        return None
    texts = _texts(members[name], name)
    try:
        return Patterns(texts)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _seconds(value: object) -> float:
    """Returns a moment in Unix seconds, given these, or a time of RFC 3339 or TOML with its zone.

    :raises ValueError: if the value is no such moment
    """
    if isinstance(value, str) and _RFC3339.fullmatch(value.upper()):
        try:
            value = datetime.fromisoformat(value.upper())
        except ValueError:
            value = None
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.timestamp()
    # A bool is an int, and no moment.
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf:
        try:
            return float(value)
        except OverflowError:
            pass
    raise ValueError("expires: expected a time with its zone (RFC 3339) or Unix seconds")
