"""Credentials of a call on grpc.aio: its token, its client's certificate and address.

Rule 1: they are what the native engine and WebSocket make of the same connection: a certificate's subject is its common
name, else its first URI, else its first DNS name. Rule 2: a certificate whose names cannot be read has no subject.
Rule 3: a call's address is its client's, also where a proxy passes it on.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from cryptography import x509

from sigbridge.addresses import plain_address
from sigbridge.auth import Certificate, Credentials
from sigbridge_net.credentials import bearer_token
from sigbridge_net.forwarding import Forwarding

_CERTIFICATES_KEPT = 1024
"""Reading one takes a tenth of a millisecond, and every call of a connection brings the same."""


def credentials_of(context: Any, forwarding: Forwarding) -> Credentials:
    """Returns the credentials of a call."""
    token = bearer_token(_values(context, "authorization"), bare=True)
    return Credentials(token, certificate_of(context.auth_context()), address_of(context, forwarding))


def address_of(context: Any, forwarding: Forwarding) -> str:
    """Returns the address of the client of a call, without a port; empty behind a unix socket."""
    address = connection_address_of(context)
    return forwarding.address_from(address, _values(context, forwarding.header)) if forwarding.header else address


def connection_address_of(context: Any) -> str:
    """Returns the address of a call's connection.

    The library writes it as `ipv4:127.0.0.1:PORT` or `ipv6:%5B::1%5D:PORT`.
    """
    kind, _, rest = unquote(context.peer()).partition(":")
    return plain_address(rest.rpartition(":")[0].strip("[]")) if kind in ("ipv4", "ipv6") else ""


def _values(context: Any, name: str) -> list[str]:
    """Returns the values that a call's metadata has of a name."""
    return [
        value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")
        for said, value in context.invocation_metadata() or ()
        if said == name
    ]


def certificate_of(shown: Mapping[str, Any]) -> Certificate | None:
    """Returns the certificate of a connection, of what its `auth_context` holds; `None` where it shows none."""
    pem = next(iter(shown.get("x509_pem_cert", ())), b"")
    return _parsed(pem) if pem else None


@lru_cache(_CERTIFICATES_KEPT)
def _parsed(pem: bytes) -> Certificate:
    """Returns a certificate of PEM; without a subject if it cannot be read."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        expires_at = certificate.not_valid_after_utc.timestamp()
    except ValueError:
        return Certificate("")
    return Certificate(_subject(certificate), expires_at)


def _subject(certificate: x509.Certificate) -> str:
    """Returns the first common name of a certificate, else its first URI, else its first DNS name; empty if none."""
    try:
        names = [name.value for name in certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
        if not any(names):
            others = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            names += others.get_values_for_type(x509.UniformResourceIdentifier)
            names += others.get_values_for_type(x509.DNSName)
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
        return ""
    return next((name if isinstance(name, str) else "" for name in names if name), "")
