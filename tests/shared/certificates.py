"""Certificates that a test makes for itself, in a folder of its own; all are for this machine, by name and by address."""

import asyncio
import contextlib
import datetime
import ssl
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from waiting import TIME_LIMIT_SECONDS

PEM = serialization.Encoding.PEM
ONE_DAY = datetime.timedelta(days=1)


class Authority:
    """Signs its own certificate, which a server may show as well, and those that it issues; leaves their files."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self.folder = folder
        self.name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.file, self.key_file = self._write(name, name, self._key, b"")

    @property
    def pem(self) -> bytes:
        return Path(self.file).read_bytes()

    def issue(
        self, name: str, *, file: str = "", password: bytes = b"", lasts: datetime.timedelta = ONE_DAY
    ) -> tuple[str, str]:
        """The files of a new certificate in that name and of its key, called so or as `file` says; it lasts from now."""
        return self._write(name, file or name, ec.generate_private_key(ec.SECP256R1()), password, lasts=lasts)

    def issue_named(self, file: str, subject: x509.Name, names: Sequence[x509.GeneralName]) -> tuple[str, str]:
        """The same for a subject of any form, and with no other names but these."""
        return self._write(subject, file, ec.generate_private_key(ec.SECP256R1()), b"", names)

    def _write(
        self,
        name: str | x509.Name,
        file: str,
        key: ec.EllipticCurvePrivateKey,
        password: bytes,
        names: Sequence[x509.GeneralName] = (x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))),
        lasts: datetime.timedelta = ONE_DAY,
    ) -> tuple[str, str]:
        certificate_file, key_file = (self.folder / f"{file}.{kind}" for kind in ("pem", "key.pem"))
        certificate_file.write_bytes(self._sign(name, key, names, lasts).public_bytes(PEM))
        lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        key_file.write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, lock))
        return str(certificate_file), str(key_file)

    def _sign(
        self,
        name: str | x509.Name,
        key: ec.EllipticCurvePrivateKey,
        names: Sequence[x509.GeneralName],
        lasts: datetime.timedelta,
    ) -> x509.Certificate:
        subject, issuer = (
            common
            if isinstance(common, x509.Name)
            else x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])
            for common in (name, self.name)
        )
        now = datetime.datetime.now(datetime.UTC)
        unused = dict.fromkeys(
            ("content_commitment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only", "crl_sign"),
            False,
        )
        usage = x509.KeyUsage(digital_signature=True, key_encipherment=True, key_cert_sign=name == self.name, **unused)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + min(lasts, datetime.timedelta()) - datetime.timedelta(hours=1))
            .not_valid_after(now + lasts)
            .add_extension(x509.BasicConstraints(ca=name == self.name, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            # What Python 3.13 asks for, which checks as strictly as RFC 5280 has it.
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def shown_certificate(port: int) -> bytes:
    """The certificate that a port of this machine shows now (DER); raises OSError where it shows none.

    It has an event loop of its own. The module ssl alone leaves a socket open that is reset before the handshake.
    """
    return asyncio.run(_shown(port))


async def _shown(port: int) -> bytes:
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    tls.set_alpn_protocols(["h2", "http/1.1"])
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname="localhost")
        shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return shown
