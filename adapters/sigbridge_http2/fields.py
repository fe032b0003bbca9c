"""Header fields: what HTTP allows of them (RFC 9113, sections 8.2 and 8.3).

A request that breaks these rules is malformed and has its stream reset; behind a server that lets it through, a proxy
or a program may read another request than we do (request smuggling).
"""

from typing import Final

from sigbridge_http2.errors import MalformedFields
from sigbridge_http2.events import Header
from sigbridge_http2.streams import UNKNOWN_LENGTH

_NAME_BYTES: Final = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
"""The bytes that a name may have: a token's characters but for capital letters (section 8.2.1; RFC 9110, 5.6.2)."""
_VALUE_BYTES: Final = bytes((9, *range(32, 127), *range(128, 256)))
"""The bytes that a value may have: no control characters but for the tab (RFC 9110, section 5.5)."""
_SPACES: Final = b" \t"
_COLON: Final = 0x3A
_SLASH: Final = 0x2F
_MAX_LENGTH_DIGITS: Final = 18
_CONNECTION_SPECIFIC: Final = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)
"""Fields of HTTP/1.1 of which HTTP/2 has no use (section 8.2.2)."""


class RequestHead:
    """The pseudo-headers of a request, empty where they are missing, and what else decides how it is taken."""

    __slots__ = ("authority", "has_host", "length", "method", "path", "scheme")

    def __init__(self) -> None:
        self.method = b""
        self.scheme = b""
        self.path = b""
        self.authority = b""
        self.has_host = False
        self.length = UNKNOWN_LENGTH

    def take_pseudo_header(self, name: bytes, value: bytes) -> None:
        """Notes a pseudo-header.

        :raises MalformedFields: if it is unknown or there twice (section 8.3.1).
        """
        if name == b":method" and not self.method:
            self.method = value
        elif name == b":path" and not self.path:
            self.path = value
        elif name == b":scheme" and not self.scheme:
            self.scheme = value
        elif name == b":authority" and not self.authority:
            self.authority = value
        else:
            raise MalformedFields("a pseudo-header is unknown or there twice")

    def take_length(self, value: bytes) -> None:
        """Notes a content-length; the same one may come again.

        :raises MalformedFields: if it is no number, or another one than before (section 8.1.1).
        """
        if not value.isdigit() or len(value) > _MAX_LENGTH_DIGITS:
            raise MalformedFields("content-length is no number")
        if self.length not in (UNKNOWN_LENGTH, int(value)):
            raise MalformedFields("content-length is there twice")
        self.length = int(value)

    def check(self) -> None:
        """Checks that all pseudo-headers are there that the method needs, and no other (sections 8.3.1 and 8.5).

        :raises MalformedFields: if one is missing or must not be there.
        """
        if self.method == b"CONNECT":
            if self.scheme or self.path or not self.authority:
                raise MalformedFields("CONNECT has an authority and nothing else")
        elif not (self.method and self.scheme and self.path and (self.authority or self.has_host)):
            raise MalformedFields("a pseudo-header is missing")
        elif self.path[0] != _SLASH and not (self.path == b"*" and self.method == b"OPTIONS"):
            raise MalformedFields("the path does not begin with a slash")


def check_request(fields: list[Header]) -> int:
    """Returns the content-length of a request, or UNKNOWN_LENGTH.

    :raises MalformedFields: if it breaks the rules.
    """
    head = RequestHead()
    regular = False
    for name, value in fields:
        if name and name[0] == _COLON:
            if regular or not value:
                raise MalformedFields("a pseudo-header is empty or behind a field")
            _check_value(value)
            head.take_pseudo_header(name, value)
            continue
        regular = True
        _check_field(name, value)
        if name == b"host":
            head.has_host = True
        elif name == b"content-length":
            head.take_length(value)
    head.check()
    return head.length


def check_trailers(fields: list[Header]) -> None:
    """Checks the fields of a trailer section (section 8.1).

    :raises MalformedFields: if a pseudo-header is among them.
    """
    for name, value in fields:
        _check_field(name, value)


def _check_field(name: bytes, value: bytes) -> None:
    """Checks the name and the value of a field.

    :raises MalformedFields: if one has a byte that is not allowed, or HTTP/2 does not have the field.
    """
    if not name or name.translate(None, _NAME_BYTES):
        raise MalformedFields("a name has a byte that it must not have")
    if name in _CONNECTION_SPECIFIC or (name == b"te" and value.lower() != b"trailers"):
        raise MalformedFields("a field that HTTP/2 does not have")
    _check_value(value)


def _check_value(value: bytes) -> None:
    if value and (value.translate(None, _VALUE_BYTES) or value[0] in _SPACES or value[-1] in _SPACES):
        raise MalformedFields("a value has a byte that it must not have")
