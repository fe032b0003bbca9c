"""The host behind TLS, and an authenticator that goes by clients' certificates."""

from pathlib import Path

import pytest

from certificates import Authority
from sigbridge import Instant, SignalingError
from sigbridge.auth import Credentials, Identity
from sigbridge.settings import SettingError
from sigbridge_client import ConnectionClosed, connect


def write_certificate(folder: Path, name: str) -> tuple[str, str, bytes]:
    """A certificate that signs itself, for this machine, and its key: their files, and the first as it is."""
    authority = Authority(folder, name)
    return authority.file, authority.key_file, authority.pem


class Certificates:
    """May be the peer that the certificate names; what no certificate names may be nobody."""

    def authenticate(self, credentials: Credentials, now: Instant) -> Identity:
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
