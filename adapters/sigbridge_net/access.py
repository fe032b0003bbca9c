"""What a client shows to a server, and whom it trusts, on either protocol."""

import os
from dataclasses import dataclass, field
from pathlib import Path

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
    """The private key of that certificate (PEM)."""


NO_ACCESS = Access()


def read_token(token_file: str | None) -> str | None:
    """The API token in a file, else in the variable `SIGBRIDGE_TOKEN`; `None` where there is none.

    A token never stands on a command line, where others could read it. Raises OSError where the file cannot be read.
    """
    token = Path(token_file).read_text() if token_file else os.environ.get(TOKEN_VARIABLE, "")
    return token.strip() or None
