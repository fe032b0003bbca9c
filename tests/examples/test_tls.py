"""The host behind TLS, and an authenticator that goes by clients' certificates."""

import datetime
import ipaddress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sigbridge import SignalingError
from sigbridge.auth import Credentials, Identity
from sigbridge.settings import SettingError
from sigbridge_client import ConnectionClosed, connect


def write_certificate(folder: Path, name: str) -> tuple[str, str, bytes]:
    """A certificate that signs itself, for loopback, and its key: their files, and the first as it is."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / f"{name}.pem", folder / f"{name}.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(paths[0]), str(paths[1]), paths[0].read_bytes()


class Certificates:
    """May be the peer that the certificate names; what no certificate names may be nobody."""

    def authenticate(self, credentials: Credentials) -> Identity:
        if credentials.certificate_subject is None:
            return Identity(peer_ids=frozenset())
        name = credentials.certificate_subject
        return Identity(subject=name, peer_ids=frozenset({name}))


async def test_a_certificate_says_which_peer_its_bearer_may_be(host_it, tmp_path):
    server, key, roots = write_certificate(tmp_path, "server")
    alice, alices_key, _ = write_certificate(tmp_path, "alice")
    hosted = await host_it(
        Certificates(), tls_cert_file=server, tls_key_file=key, tls_client_ca_file=alice, http_bind_address="off"
    )
    url = f"grpcs://{hosted.target}"
    with pytest.raises(ConnectionClosed):
        await connect(url, root_certificates=roots)
    with pytest.raises(ConnectionClosed):
        await connect(url, root_certificates=roots, certificate_file=server, key_file=key)
    async with await connect(url, root_certificates=roots, certificate_file=alice, key_file=alices_key) as client:
        with pytest.raises(SignalingError, match="Peer ID mismatch"):
            await client.announce("bob")
        await client.announce("alice")


async def test_who_goes_by_certificates_lets_nobody_be_anybody_without_one(host_it):
    hosted = await host_it(Certificates())
    async with await connect(f"grpc://{hosted.target}") as client:
        with pytest.raises(SignalingError, match="Peer ID mismatch"):
            await client.announce("alice")


async def test_a_certificate_that_is_none_is_said(host_it, tmp_path):
    (tmp_path / "no.pem").write_text("no certificate")
    with pytest.raises(SettingError, match="SIGNALING_TLS_CERT_FILE"):
        await host_it(tls_cert_file=str(tmp_path / "no.pem"), tls_key_file=str(tmp_path / "no.pem"))
