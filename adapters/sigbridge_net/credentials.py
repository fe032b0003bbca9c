"""Credentials as HTTP headers carry them, on every protocol that has such headers.

Source: RFC 9110, section 11.6.2; RFC 6750, section 2.1; `docs/security.md`.
"""

from collections.abc import Iterable


def bearer_token(values: Iterable[str], *, bare: bool = False) -> str | None:
    """Returns the token of an `authorization` header: `Bearer TOKEN`, or with `bare` the token alone.

    Returns `None` where there is no such header, more than one, or none that says a token.
    """
    headers = list(values)
    if len(headers) != 1:
        return None
    scheme, space, token = headers[0].strip().partition(" ")
    if space and scheme.lower() == "bearer":
        return token.strip() or None
    return scheme if bare and not space and scheme else None


def utf8_of_latin1(value: str) -> str:
    """Returns the text of a header that a library has read as Latin-1.

    Tokens that are no ASCII are UTF-8 on every protocol.
    """
    return value.encode("latin-1", "replace").decode("utf-8", "surrogateescape")


def latin1_of_utf8(token: str) -> str:
    """Returns a token as a library that writes headers as Latin-1 must be given it: the reverse of `utf8_of_latin1`."""
    return token.encode().decode("latin-1")
