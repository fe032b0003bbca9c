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
        self.certificate = self.key = b""
        self.client_authority: bytes | None = None
        self.context = self._read()
        """For the carrier's listeners."""
        self._present = self.context
        # A context forgets no authority that it once trusted, so that each reading has one of its own.
        self.context.sni_callback = self._switch

    def reload(self) -> None:
        """Read the files again; SettingError where one is no good, and nothing is changed then."""
        self._present = self._read()

    def _switch(self, connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        """A client begins its handshake: what was read last is what counts."""
        connection.context = self._present

    def _read(self) -> ssl.SSLContext:
        settings = self._settings
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["h2", "http/1.1"])
        try:
            # Without a password it would ask for one on the terminal.
            context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file, password="")
            certificate, key = (Path(name).read_bytes() for name in (settings.tls_cert_file, settings.tls_key_file))
        except (OSError, ssl.SSLError) as error:
            raise SettingError(
                f"SIGNALING_TLS_CERT_FILE is {settings.tls_cert_file!r} and SIGNALING_TLS_KEY_FILE is "
                f"{settings.tls_key_file!r}: expected a certificate and its key in PEM files ({_why(error)})"
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
                    f"PEM file ({_why(error)})"
                ) from None
        self.certificate, self.key, self.client_authority = certificate, key, authority
        return context


def server_tls(settings: Settings) -> ServerTls | None:
    """The server's TLS, or `None` where no certificate is set; SettingError where a file is no good."""
    return ServerTls(settings) if settings.tls_cert_file else None


def client_context(access: Access) -> ssl.SSLContext:
    """The TLS context of a client."""
    roots = access.root_certificates
    # Between the certificates of a bundle may stand remarks, in any language.
    context = ssl.create_default_context(cadata=roots.decode("ascii", errors="ignore") if roots is not None else None)
    if access.certificate_file:
        context.load_cert_chain(access.certificate_file, access.key_file or None)
    return context


def _why(error: OSError) -> str:
    return error.strerror or str(error)
