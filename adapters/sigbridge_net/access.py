"""Credentials that a client shows to a server, and certificates that it trusts, on either protocol."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from sigbridge_net.errors import AccessError

_USER = re.compile(r"//[^/?#]*@")
_QUERY = re.compile(r"[?#].*", re.DOTALL)

TOKEN_VARIABLE = "SIGBRIDGE_TOKEN"  # noqa: S105 - the name of a variable


@dataclass(frozen=True, kw_only=True)
class Access:
    """A client's token and certificates; all of them may be absent."""

    token: str | None = field(default=None, repr=False)
    """The API token."""
    root_certificates: bytes | None = None
    """Authorities (PEM) that replace the system's, for the secure schemes."""
    certificate_file: str = ""
    """The client's own certificate chain (PEM), where the server asks for one."""
    key_file: str = ""
    """The private key of that certificate (PEM); empty where its file holds the key, too."""

    def __post_init__(self) -> None:
        """Checks the token and the authorities.

        :raises AccessError: if the token is not printable, or the authorities are not PEM.
        """
        if self.token is not None and not self.token.isprintable():
            raise AccessError("the API token holds what no header can carry: expected one line of printable text")
        if self.root_certificates is not None and b"-----BEGIN" not in self.root_certificates:
            raise AccessError("the authorities are not certificates: expected them in PEM")

    def hidden_in(self, text: str) -> str:
        """Returns a text of a library's or a server's without the token, which it may hold."""
        return text.replace(self.token, "(hidden)") if self.token else text


NO_ACCESS = Access()


def shown_url(url: str) -> str:
    """Returns a URL as errors show it: without a user, a password and a query: each may be a token by mistake."""
    return _QUERY.sub("", _USER.sub("//", url))


def read_token(token_file: str | None) -> str | None:
    """Returns the API token in a file, else in the variable `SIGBRIDGE_TOKEN`; None if there is neither.

    A token never stands on a command line, where others could read it.

    :raises OSError: if the file cannot be read.
    :raises AccessError: if it holds no text.
    """
    try:
        token = Path(token_file).read_text(encoding="utf-8") if token_file else os.environ.get(TOKEN_VARIABLE, "")
    except UnicodeDecodeError:
        raise AccessError(f"{token_file} holds no API token: expected text in UTF-8") from None
    return token.strip() or None
