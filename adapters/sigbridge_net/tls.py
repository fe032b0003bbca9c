"""TLS from certificate files: for the server's ports, and for clients.

Rule 1: an error names the variable and the file. Rule 2: the files may be read anew, in any thread; what was read
counts for new connections once it is `put`. Rule 3: a port offers by ALPN (RFC 7301) what it speaks and nothing else: a
client that is offered HTTP/2 speaks it.
"""

import ssl
from pathlib import Path
from typing import Any, Final, NamedTuple

from sigbridge.auth import Certificate
from sigbridge.instant import Instant
from sigbridge.settings import SettingError, Settings
from sigbridge_net.access import Access

HTTP2: Final = "h2"
HTTP1: Final = "http/1.1"


class Read(NamedTuple):
    """The content of the files, read together."""

    context: ssl.SSLContext
    certificate: bytes
    key: bytes
    client_authority: bytes | None
    not_after: float | None
    """The end of the certificate (Unix seconds), the server's own and not those of its chain; None: not to be read."""

    def __repr__(self) -> str:
        return f"Read(not_after={self.not_after}, key=(hidden))"


class ServerTls:
    """The server's certificate, key and, for mutual TLS, the authority of its clients.

    It is a `sigbridge_server.reloading.Reloadable` of their files.
    """

    def __init__(self, settings: Settings, protocols: tuple[str, ...] = (HTTP2, HTTP1)) -> None:
        """Reads the files. Its ports speak these protocols, the first one at best.

        :raises SettingError: if a file is invalid.
        """
        self._settings = settings
        self._protocols = protocols
        self.paths = tuple(
            path for path in (settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file) if path
        )
        self.present = self.read()
        """The content that was read last; in one piece, since grpc's threads ask for it."""
        self.context = self.present.context
        """For the carrier's listeners."""
        # A context forgets no authority that it once trusted, so that each reading has one of its own.
        self.context.sni_callback = self._switch

    @property
    def certificate(self) -> bytes:
        """The certificate chain (PEM)."""
        return self.present.certificate

    @property
    def key(self) -> bytes:
        """The certificate's key (PEM)."""
        return self.present.key

    @property
    def client_authority(self) -> bytes | None:
        """The authority of clients (PEM), `None` where they are asked for no certificate."""
        return self.present.client_authority

    def put(self, content: Read, now: Instant) -> None:
        """Takes what was read: for new connections it counts from now on."""
        self.present = content

    def _switch(self, connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        """A client begins its handshake: what was read last is what counts."""
        connection.context = self.present.context

    def read(self) -> Read:
        """Reads the files.

        :raises SettingError: if a file is invalid, or they do not fit: one may be swapped before another.
        """
        settings = self._settings
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(list(self._protocols))
        try:
            # Without a password it would ask for one on the terminal.
            context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file, password="")
            certificate, key = (Path(name).read_bytes() for name in (settings.tls_cert_file, settings.tls_key_file))
        except (OSError, ssl.SSLError) as error:
            raise SettingError(
                f"SIGNALING_TLS_CERT_FILE is {settings.tls_cert_file!r} and SIGNALING_TLS_KEY_FILE is "
                f"{settings.tls_key_file!r}: expected a certificate and its key in PEM files ({_reason(error)})"
            ) from None
        authority = None
        if settings.tls_client_ca_file:
            context.verify_mode = ssl.CERT_REQUIRED
            # A resumed session would not ask whether its client's authority is still trusted.
            context.options |= ssl.OP_NO_TICKET
            try:
                context.load_verify_locations(settings.tls_client_ca_file)
                authority = Path(settings.tls_client_ca_file).read_bytes()
            except (OSError, ssl.SSLError) as error:
                raise SettingError(
                    f"SIGNALING_TLS_CLIENT_CA_FILE is {settings.tls_client_ca_file!r}: expected certificates in a "
                    f"PEM file ({_reason(error)})"
                ) from None
        return Read(context, certificate, key, authority, _not_after(certificate))


def server_tls(settings: Settings, protocols: tuple[str, ...] = (HTTP2, HTTP1)) -> ServerTls | None:
    """Returns the TLS of ports that speak these; `None` where no certificate is set.

    :raises SettingError: if a file is no good.
    """
    return ServerTls(settings, protocols) if settings.tls_cert_file else None


def client_context(access: Access) -> ssl.SSLContext:
    """Returns the TLS context of a client."""
    roots = access.root_certificates
    # Between the certificates of a bundle may stand remarks, in any language.
    context = ssl.create_default_context(cadata=roots.decode("ascii", errors="ignore") if roots is not None else None)
    if access.certificate_file:
        context.load_cert_chain(access.certificate_file, access.key_file or None)
    return context


def _not_after(certificate: bytes) -> float | None:
    """Returns the end of the first certificate of a chain (PEM) in Unix seconds; None if it is not parsed."""
    from cryptography.x509 import load_pem_x509_certificate  # only here, since clients need none of it

    try:
        return load_pem_x509_certificate(certificate).not_valid_after_utc.timestamp()
    except ValueError:
        return None


def _reason(error: OSError) -> str:
    """Returns why a file cannot be used, in the system's words if there are any."""
    return error.strerror or str(error)


def tls_failure(error: ssl.SSLError) -> str:
    """Returns why a handshake has failed, in the library's words and not the client's."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{error.reason}: {error.verify_message}"
    return error.reason or type(error).__name__


def certificate_of(shown: dict[str, Any] | None) -> Certificate | None:
    """Returns a client's certificate from `SSLSocket.getpeercert`; None where the client has shown none."""
    if not shown:
        return None
    names = [value for part in shown.get("subject", ()) for key, value in part if key == "commonName"]
    others = shown.get("subjectAltName", ())
    for kind in ("URI", "DNS"):
        names += [value for key, value in others if key == kind]
    subject = next((str(name) for name in names if name), "")
    return Certificate(subject, float(ssl.cert_time_to_seconds(shown["notAfter"])))
