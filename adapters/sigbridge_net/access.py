"""What a client shows to a server, and whom it trusts, on either protocol."""

from dataclasses import dataclass, field


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
