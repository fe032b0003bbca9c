"""TLS contexts from certificate files, with errors that name the file."""

import ssl

from sigbridge.settings import SettingError, Settings


def server_context(settings: Settings) -> ssl.SSLContext | None:
    """The TLS context for the server's ports, or `None` where none is set; SettingError where a file is no good."""
    if not settings.tls_cert_file:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingError(
            f"SIGNALING_TLS_CERT_FILE is {settings.tls_cert_file!r} and SIGNALING_TLS_KEY_FILE is "
            f"{settings.tls_key_file!r}: expected a certificate and its key in PEM files ({error.strerror or error})"
        ) from None
    return context


def client_context(root_certificates: bytes | None) -> ssl.SSLContext:
    """The TLS context of a client that trusts the system's authorities, or those given (PEM) instead."""
    if root_certificates is None:
        return ssl.create_default_context()
    return ssl.create_default_context(cadata=root_certificates.decode())
