"""ICE servers as an operator sets them, and the credentials for TURN that are made for one peer.

The credentials are those of "A REST API For Access To TURN Services" (draft-uberti-behave-turn-rest), which coturn
takes with `use-auth-secret`: the username is when they end and the peer, the credential its HMAC-SHA1 by a secret that
the TURN server knows. Nothing is asked of it, and it asks nothing.

Rule 1: what is set here goes to clients as it is, so it is checked as browsers check an `RTCIceServer`. Rule 2: secrets
and credentials are in no `repr` and in no error. Source: `docs/ice-servers.md`.
"""

import hmac
import re
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from math import ceil
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import msgspec

from sigbridge.messages import IceServer, IceServers

MAX_TEXT_BYTES: Final = 16384
"""The longest text of ICE servers, in bytes: each client that asks is sent it."""
MAX_PEER_BYTES: Final = 256
"""The longest name of a peer in a username; STUN allows a username 508 bytes (RFC 8489, section 14.3)."""
MAX_USERNAME_BYTES: Final = 508
"""The longest username of STUN (RFC 8489, section 14.3); with a longer one Chromium makes no connection at all."""
_MEMBERS: Final = ("urls", "username", "credential")
_TURN: Final = ("turn:", "turns:")
_URL: Final = re.compile(
    r"(?P<scheme>stuns?|turns?):(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(?::(?P<port>[0-9]{1,5}))?(?P<query>\?transport=(?:udp|tcp))?"
)
"""A URL of RFC 7064 or RFC 7065."""


class Turn(NamedTuple):
    """TURN servers that share a secret with this server."""

    urls: tuple[str, ...]
    secret: bytes
    ttl_seconds: float
    """The time for which credentials are good."""

    def __repr__(self) -> str:
        return f"Turn(urls={self.urls}, secret=(hidden), ttl_seconds={self.ttl_seconds})"


class IceStock:
    """The ICE servers that peers are given: those that are set as they are, and TURN with credentials for each peer."""

    __slots__ = ("fixed", "turn")

    def __init__(self, fixed: tuple[IceServer, ...] = (), turn: Turn | None = None) -> None:
        self.fixed: Final = fixed
        self.turn: Final = turn

    def __repr__(self) -> str:
        return f"IceStock({len(self.fixed)} servers, turn={self.turn})"

    def is_like(self, other: "IceStock") -> bool:
        """Returns whether peers are given the same by both."""
        return (self.fixed, self.turn) == (other.fixed, other.turn)

    def servers_for(self, peer_id: str, unix: float) -> IceServers:
        """Returns the servers of a peer, with credentials that begin to be good now, at `unix` (Unix seconds)."""
        turn = self.turn
        if turn is None:
            return IceServers(self.fixed)
        end = ceil(unix + turn.ttl_seconds)
        username = f"{end}:{name_in_username(peer_id)}"
        digest = hmac.digest(turn.secret, username.encode(), "sha1")
        server = {"urls": list(turn.urls), "username": username, "credential": b64encode(digest).decode()}
        return IceServers((*self.fixed, server), end * 1000)


def name_in_username(peer_id: str) -> str:
    """Returns the name of a peer in a username.

    Letters, digits, `-`, `.` and `_` stay as they are, all else is percent-encoded: TURN servers split a username at
    colons, and coturn takes none with spaces, quotes or backslashes, nor one that looks like SQL. A name that is too
    long, or looks so, becomes a digest, whose `~` no other name has.
    """
    name = quote(peer_id, safe="").replace("~", "%7E")
    lower = name.lower()
    if len(name) > MAX_PEER_BYTES or ("union" in lower and "select" in lower):
        return f"~{sha256(peer_id.encode()).hexdigest()}"
    return name


# What is set.


def ice_servers_in(text: str) -> tuple[IceServer, ...]:
    """Returns the ICE servers in a text of JSON: an array of objects as `RTCIceServer` has them, or one such object.

    :raises ValueError: if it is another text; the error says what is wrong, and shows no credential
    """
    if len(text.encode(errors="replace")) > MAX_TEXT_BYTES:
        raise ValueError(f"at most {MAX_TEXT_BYTES} bytes")
    try:
        said = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise ValueError("JSON") from None
    servers = said if isinstance(said, list) else [said]
    return tuple(_checked_server(server, f"server {number}") for number, server in enumerate(servers, 1))


def _checked_server(server: Any, where: str) -> IceServer:
    """Returns a server that is as `RTCIceServer` has it.

    :raises ValueError: if it is not; the text says what is expected, and shows no credential
    """
    if not isinstance(server, dict):
        raise ValueError(f"an object with urls as {where}")
    for name in server:
        if name not in _MEMBERS:
            raise ValueError(f"urls, username and credential alone in {where}")
    urls = [server["urls"]] if isinstance(server.get("urls"), str) else server.get("urls")
    if not isinstance(urls, list) or not urls or not all(isinstance(url, str) for url in urls):
        raise ValueError(f"urls in {where}: a text, or an array of texts")
    for url in urls:
        check_ice_url(url, where)
    for name in ("username", "credential"):
        _check_credential(server, name, where, needed=any(url.startswith(_TURN) for url in urls))
    return server


def _check_credential(server: Mapping[str, Any], name: str, where: str, *, needed: bool) -> None:
    """Checks a username or credential, which a server of TURN needs.

    :raises ValueError: if it is missing, or no printable text
    """
    value = server.get(name)
    if (name in server or needed) and not (isinstance(value, str) and value and value.isprintable()):
        raise ValueError(f"a text as {name} in {where}" + (", whose URL is one of TURN" if needed else ""))
    if name == "username" and isinstance(value, str) and len(value.encode()) > MAX_USERNAME_BYTES:
        raise ValueError(f"a username of at most {MAX_USERNAME_BYTES} bytes in {where}")


def check_ice_url(url: str, where: str = "") -> None:
    """Checks that a text is the URL of a STUN or TURN server, as browsers do.

    :raises ValueError: if it is not; the text says what is expected `where`
    """
    found = _URL.fullmatch(url)
    is_fine = found is not None and not (found["query"] and found["scheme"].startswith("stun"))
    if found is None or not is_fine or not 0 < int(found["port"] or 1) <= 65535:
        raise ValueError(
            "URLs such as stun:stun.example.org:3478 or turns:turn.example.org:5349?transport=tcp"
            + (f" in {where}" if where else "")
        )


def check_turn_urls(urls: tuple[str, ...]) -> None:
    """Checks that all texts are URLs of TURN servers, and not too many.

    :raises ValueError: if one is not, or there are too many
    """
    if sum(map(len, urls)) > MAX_TEXT_BYTES:
        raise ValueError(f"at most {MAX_TEXT_BYTES} bytes")
    for url in urls:
        check_ice_url(url)
        if not url.startswith(_TURN):
            raise ValueError(url)
