"""Origins of web pages, as a list names them, and the one comparison of a page's origin with such a list.

Rule 1: an entry is an origin as browsers write it, `https://*.example.org` for every host below that one, or `*` for
all pages, alone in its list. The default port of http and https may stand there, and is the same as none. Rule 2: an
entry that no browser ever sends is refused when the list is made, and the error says what would be right: it would let
nobody in. Rule 3: a page's origin is compared letter by letter, in time that grows with its length and no faster.
Source: RFC 6454, sections 4 and 6; for how hosts are written, the URL Standard.
"""

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

ALL: Final = "*"
NULL: Final = "null"
"""The origin of pages that have none of their own: RFC 6454, section 6.1."""

_BELOW: Final = "*."
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}
_OF_PAGES: Final = {"ws": "http", "wss": "https"}
"""The schemes of pages, by those of the WebSockets that they open."""
_EXPECTED: Final = "expected an origin such as https://example.org or https://*.example.org"

# No repetition is tried twice.
_entry: Final = re.compile(r"(?:([A-Za-z][-+.0-9A-Za-z]*+)://)?([^/?#]*+)").match
_authority: Final = re.compile(r"(?:[^@]*+@)?(\[[^\]]*+\]|[^:\[\]@]*+)(?::([0-9]{0,6}))?").fullmatch
_host: Final = re.compile(r"[-_0-9a-z]++(?:\.[-_0-9a-z]++)*+").fullmatch
_origin: Final = re.compile(r"([a-z][-+.0-9a-z]*+)://[-_0-9a-z]++(?:\.[-_0-9a-z]++)*+(?::[0-9]{1,5})?").fullmatch


class Origins:
    """A list of origins; `origin in origins` is true where a page of that origin may connect."""

    __slots__ = ("below", "every", "exact")

    def __init__(self, entries: Iterable[str]) -> None:
        """Reads entries such as `https://example.org`, `https://*.example.org` or `*`.

        :raises ValueError: with the entry that is wrong, and what would be right.
        """
        listed = list(entries)
        if ALL in listed and set(listed) != {ALL}:
            raise ValueError(f"{ALL!r} beside others: expected it alone, as it stands for all")
        self.every: Final = ALL in listed
        """True where all pages may."""
        exact: set[str] = set()
        below: dict[str, set[str]] = {}
        for written in [] if self.every else map(_parse_entry, listed):
            port = "" if written.port == _DEFAULT_PORTS.get(written.scheme) else written.port
            if written.host.startswith(_BELOW):
                below.setdefault(written.scheme, set()).add(f"{written.host[1:]}{port}")
            else:
                exact.add(f"{written.scheme}://{written.host}{port}")
        self.exact: Final = frozenset(exact)
        """The origins that are named whole."""
        self.below: Final = {scheme: tuple(ends) for scheme, ends in below.items()}
        """The ends of all others by their scheme: each a dot, a host and a port."""

    def __contains__(self, origin: object) -> bool:
        """Returns whether a page of this origin may connect."""
        if self.every or origin in self.exact:
            return True
        if not self.below or not isinstance(origin, str):
            return False
        seen = _origin(origin)
        # No host begins with a dot: something stands before the end.
        return seen is not None and origin.endswith(self.below.get(seen[1], ()))


class _Origin(NamedTuple):
    """An entry as a browser would write it."""

    scheme: str
    host: str
    port: str
    """A colon and a number; empty where there is none."""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}{self.port}"


def _parse_entry(entry: str) -> _Origin:
    """Returns the parts of an entry.

    :raises ValueError: if a browser would write it otherwise; the text says how.
    """
    if entry == NULL:
        raise ValueError(f"{entry!r}: expected no such entry, since any page can have that origin; {ALL} lets all in")
    if not entry.isascii():
        raise ValueError(f"{entry!r}: expected the host as browsers send it, in ASCII (xn--…)")
    written = _browser_form(entry)
    if written is None:
        raise ValueError(f"{entry!r}: {_EXPECTED}")
    if str(written) != entry:
        raise ValueError(f"{entry!r}: expected {written}")
    return written


def _browser_form(entry: str) -> _Origin | None:
    """Returns an entry as a browser would write that origin; None if it is none."""
    found = _entry(entry)
    parts = _authority(found[2]) if found is not None else None
    if found is None or parts is None:
        return None
    scheme = (found[1] or "https").lower()
    host, number = _browser_host(parts[1].lower()), int(parts[2] or 0)
    if not host or number > 65535 or (parts[2] and not number):
        return None
    return _Origin(_OF_PAGES.get(scheme, scheme), host, f":{number}" if number else "")


def _browser_host(host: str) -> str:
    """Returns a host in small letters as browsers write it; an empty text if it is none."""
    try:
        if host.startswith("["):
            return "" if "%" in host else f"[{IPv6Address(host[1:-1])}]"
        name = host.removeprefix(_BELOW)
        if name.rpartition(".")[2].isdigit():
            return str(IPv4Address(host))
    except ValueError:
        return ""
    return host if _host(name) is not None else ""
