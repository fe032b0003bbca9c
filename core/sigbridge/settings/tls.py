"""Settings of TLS: the files of the server's certificate, and the authority of its clients'."""

from dataclasses import dataclass
from typing import ClassVar

from sigbridge.settings.declare import SettingError, Subject, text


@dataclass(frozen=True, kw_only=True)
class Tls(Subject):
    """The certificates of TLS."""

    title: ClassVar[str] = "TLS"

    tls_cert_file: str = text(
        "", "SIGNALING_TLS_CERT_FILE", "server's certificate chain (PEM), for both protocols; empty: no TLS", "a path"
    )
    tls_key_file: str = text("", "SIGNALING_TLS_KEY_FILE", "private key (PEM) of that certificate", "a path")
    tls_client_ca_file: str = text(
        "",
        "SIGNALING_TLS_CLIENT_CA_FILE",
        "authority (PEM) that must have signed each client's certificate (mutual TLS); empty: none is requested",
        "a path",
    )

    def check_together(self) -> None:
        """Checks that a certificate has its key, and mutual TLS both.

        :raises SettingError: if one is missing.
        """
        if bool(self.tls_cert_file) != bool(self.tls_key_file):
            missing = "tls_key_file" if self.tls_cert_file else "tls_cert_file"
            raise SettingError(f"{self.infos()[missing].env} is empty: TLS needs a certificate and its key")
        if self.tls_client_ca_file and not self.tls_cert_file:
            raise SettingError("SIGNALING_TLS_CERT_FILE is empty: mutual TLS needs the server's certificate too")
