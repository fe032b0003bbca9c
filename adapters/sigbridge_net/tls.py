"""TLS from certificate files: for the server's ports, and for clients.

Rule 1: an error names the variable and the file. Rule 2: the files are read anew on `reload`, for new connections;
where they are no good then, what was good before stays.
"""

import ssl
from pathlib import Path

from sigbridge.settings import SettingError, Settings
from sigbridge_net.access import Access


class ServerTls:
    """The server's certificate, key and, for mutual TLS, the authority of its clients."""

    def __init__(self, settings: Settings) -> None:
        """Read the files; SettingError where one is no good."""
        self._settings = settings
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        """For the carrier's listeners."""
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["h2", "http/1.1"])
        if settings.tls_client_ca_file:
            self.context.verify_mode = ssl.CERT_REQUIRED
        self.certificate = self.key = b""
        self.client_authority: bytes | None = None
        self.reload()

    def reload(self) -> None:
        """Read the files again; SettingError where one is no good, and nothing is changed then."""
        settings = self._settings
        # Tried on a context of its own, since a half-loaded one could serve nobody.
        trial = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        for context in (trial, self.context):
            try:
                context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file)
            except (OSError, ssl.SSLError) as error:
                raise SettingError(
                    f"SIGNALING_TLS_CERT_FILE is {settings.tls_cert_file!r} and SIGNALING_TLS_KEY_FILE is "
                    f"{settings.tls_key_file!r}: expected a certificate and its key in PEM files ({_why(error)})"
                ) from None
            if settings.tls_client_ca_file:
                try:
                    context.load_verify_locations(settings.tls_client_ca_file)
                except (OSError, ssl.SSLError) as error:
                    raise SettingError(
                        f"SIGNALING_TLS_CLIENT_CA_FILE is {settings.tls_client_ca_file!r}: expected certificates in a "
                        f"PEM file ({_why(error)})"
                    ) from None
        self.certificate = Path(settings.tls_cert_file).read_bytes()
        self.key = Path(settings.tls_key_file).read_bytes()
        if settings.tls_client_ca_file:
            self.client_authority = Path(settings.tls_client_ca_file).read_bytes()


def server_tls(settings: Settings) -> ServerTls | None:
    """The server's TLS, or `None` where no certificate is set; SettingError where a file is no good."""
    return ServerTls(settings) if settings.tls_cert_file else None


def client_context(access: Access) -> ssl.SSLContext:
    """The TLS context of a client."""
    roots = access.root_certificates
    context = ssl.create_default_context(cadata=roots.decode() if roots else None)
    if access.certificate_file:
        context.load_cert_chain(access.certificate_file, access.key_file or None)
    return context


def _why(error: OSError) -> str:
    return error.strerror or str(error)
