"""Both engines of gRPC behind TLS."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from certificates import Authority
from sigbridge import Instant
from sigbridge.auth import Credentials, Identity
from sigbridge_grpc.service import SERVICE_NAME

Start = Callable[..., Awaitable[Any]]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An authority, and what it has signed: a server's certificate and a client's."""
    root = Authority(tmp_path_factory.mktemp("tls"), "root")
    for name in ("server", "alice"):
        root.issue(name)
    return {path.name: path for path in root.folder.iterdir()}


class SubjectsOnly:
    """Lets in whose certificate names somebody, as that somebody."""

    def authenticate(self, credentials: Credentials, now: Instant) -> Identity:
        return Identity(subject=credentials.certificate_subject or "")


@pytest.mark.parametrize("mutual", [False, True])
async def test_tls(start: Start, authority: dict[str, Path], mutual: bool) -> None:
    files = {"tls_cert_file": str(authority["server.pem"]), "tls_key_file": str(authority["server.key.pem"])}
    if mutual:
        files["tls_client_ca_file"] = str(authority["root.pem"])
    served = await start(authenticator=SubjectsOnly(), **files)
    served.target = f"localhost:{served.server.grpc_port}"
    root = authority["root.pem"].read_bytes()
    shown = (authority["alice.key.pem"].read_bytes(), authority["alice.pem"].read_bytes()) if mutual else (None, None)
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
