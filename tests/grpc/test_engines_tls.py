"""Both engines of gRPC behind TLS."""

import asyncio
import datetime
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sigbridge.auth import Credentials, Identity
from sigbridge_grpc.service import SERVICE_NAME

Start = Callable[..., Awaitable[Any]]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An authority, and what it has signed: a server's certificate and a client's."""
    folder = tmp_path_factory.mktemp("tls")
    now = datetime.datetime.now(datetime.UTC)
    root_key = ec.generate_private_key(ec.SECP256R1())
    root_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "root")])

    def write(word: str, name: x509.Name, key: ec.EllipticCurvePrivateKey, *, root: bool = False) -> None:
        names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(root_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=root, path_length=None), critical=True)
            .sign(root_key, hashes.SHA256())
        )
        (folder / f"{word}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        form = serialization.PrivateFormat.PKCS8
        (folder / f"{word}.key").write_bytes(
            key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        )

    write("root", root_name, root_key, root=True)
    for word in ("server", "alice"):
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, word)])
        write(word, name, ec.generate_private_key(ec.SECP256R1()))
    return {path.name: path for path in folder.iterdir()}


class SubjectsOnly:
    """Lets in whose certificate names somebody, as that somebody."""

    def authenticate(self, credentials: Credentials) -> Identity:
        return Identity(subject=credentials.certificate_subject or "")


@pytest.mark.parametrize("mutual", [False, True])
async def test_tls(start: Start, authority: dict[str, Path], mutual: bool) -> None:
    files = {"tls_cert_file": str(authority["server.pem"]), "tls_key_file": str(authority["server.key"])}
    if mutual:
        files["tls_client_ca_file"] = str(authority["root.pem"])
    served = await start(authenticator=SubjectsOnly(), **files)
    served.target = f"localhost:{served.server.grpc_port}"
    root = authority["root.pem"].read_bytes()
    shown = (authority["alice.key"].read_bytes(), authority["alice.pem"].read_bytes()) if mutual else (None, None)
    call = await served.call(served.channel(credentials=grpc.ssl_channel_credentials(root, *shown)))
    await call.announce("a")
    (session,) = served.hub._sessions.values()
    assert session.identity.subject == ("alice" if mutual else "")
    if mutual:
        with pytest.raises(grpc.aio.AioRpcError):
            await served.unary(
                f"/{SERVICE_NAME}/HealthCheck",
                b"",
                served.channel(credentials=grpc.ssl_channel_credentials(root)),
                timeout=5,
            )
        return
    context = ssl.create_default_context(cafile=str(authority["root.pem"]))
    context.set_alpn_protocols(["h2"])

    def negotiated() -> str | None:
        with (
            socket.create_connection(("127.0.0.1", served.server.grpc_port)) as sock,
            context.wrap_socket(sock, server_hostname="localhost") as secure,
        ):
            return secure.selected_alpn_protocol()

    assert await asyncio.to_thread(negotiated) == "h2"
