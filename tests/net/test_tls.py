"""Certificates: errors that name the file, a reload that keeps what was good, and who is let in by what was read."""

import contextlib
import shutil
import ssl
from pathlib import Path

import pytest

from certificates import Authority
from clock import NOW
from sigbridge import SettingError, Settings
from sigbridge_net.access import Access
from sigbridge_net.tls import client_context, server_tls


def reload(tls):
    tls.put(tls.read(), NOW)


def test_no_certificate_no_tls():
    assert server_tls(Settings()) is None


def test_a_certificate_and_its_key(certificate):
    cert, key = certificate
    tls = server_tls(Settings(tls_cert_file=str(cert), tls_key_file=str(key)))
    assert (tls.certificate, tls.key) == (cert.read_bytes(), key.read_bytes())


@pytest.mark.parametrize("wrong", ["missing", "nonsense", "swapped"])
def test_a_file_that_is_no_good_is_named(certificate, tmp_path, wrong):
    _, key = certificate
    path = key if wrong == "swapped" else tmp_path / "x.pem"
    if wrong == "nonsense":
        path.write_text("nonsense")
    with pytest.raises(SettingError, match=r"SIGNALING_TLS_CERT_FILE is .*\.pem") as error:
        server_tls(Settings(tls_cert_file=str(path), tls_key_file=str(key)))
    assert str(path) in str(error.value)


def test_a_reload_that_fails_changes_nothing(certificate, tmp_path):
    cert, key = (shutil.copy(path, tmp_path) for path in certificate)
    tls = server_tls(Settings(tls_cert_file=str(cert), tls_key_file=str(key)))
    before = tls.certificate
    Path(cert).write_text("nonsense")
    with pytest.raises(SettingError):
        reload(tls)
    assert tls.certificate == before


def test_a_client_trusts_what_it_is_given(certificate):
    cert, _ = certificate
    assert len(client_context(Access(root_certificates=cert.read_bytes())).get_ca_certs()) == 1


# Handshakes in memory.


def shake_hands(server, client):
    """The subjects that the client and the server saw; SSLError where they do not agree."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(back, there, server_hostname="127.0.0.1"),
        server.wrap_bio(there, back, server_side=True),
    ]
    for _ in range(6):
        for end in ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    # The server's word on the client's certificate comes after the client's handshake.
    with contextlib.suppress(ssl.SSLWantReadError):
        ends[0].read(1)
    return [dict(part[0] for part in (end.getpeercert() or {}).get("subject", ())).get("commonName") for end in ends]


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def make_tls(authority, cert_file, key_file, **settings):
    return server_tls(Settings(tls_cert_file=cert_file, tls_key_file=key_file, **settings))


def trusting(authority, certificate=("", "")):
    return client_context(
        Access(root_certificates=authority.pem, certificate_file=certificate[0], key_file=certificate[1])
    )


def test_new_connections_get_what_was_read_last(authority):
    tls = make_tls(authority, *authority.issue("one", file="server"))
    assert shake_hands(tls.context, trusting(authority)) == ["one", None]
    authority.issue("two", file="server")
    assert shake_hands(tls.context, trusting(authority)) == ["one", None]
    reload(tls)
    assert shake_hands(tls.context, trusting(authority)) == ["two", None]


def test_a_reload_that_fails_serves_what_was_good(authority):
    cert_file, key_file = authority.issue("one", file="server")
    tls = make_tls(authority, cert_file, key_file)
    authority.issue("two", file="server")
    authority.issue("other", file="other")
    shutil.copy(authority.folder / "other.key.pem", key_file)
    with pytest.raises(SettingError, match="SIGNALING_TLS_KEY_FILE"):
        reload(tls)
    assert shake_hands(tls.context, trusting(authority)) == ["one", None]


def test_mutual_tls(authority, tmp_path):
    tls = make_tls(authority, *authority.issue("server"), tls_client_ca_file=authority.file)
    assert shake_hands(tls.context, trusting(authority, authority.issue("device-1"))) == ["server", "device-1"]
    with pytest.raises(ssl.SSLError):
        shake_hands(tls.context, trusting(authority))
    (tmp_path / "elsewhere").mkdir()
    stranger = Authority(tmp_path / "elsewhere", "stranger").issue("device-1")
    with pytest.raises(ssl.SSLError):
        shake_hands(tls.context, trusting(authority, stranger))


def test_an_authority_that_was_replaced_is_trusted_no_more(authority, tmp_path):
    (tmp_path / "new").mkdir()
    old_client = authority.issue("old-device")
    newer = Authority(tmp_path / "new", "newer")
    trusted = tmp_path / "clients.pem"
    shutil.copy(authority.file, trusted)
    tls = make_tls(authority, *authority.issue("server"), tls_client_ca_file=str(trusted))
    assert shake_hands(tls.context, trusting(authority, old_client)) == ["server", "old-device"]
    shutil.copy(newer.file, trusted)
    reload(tls)
    assert shake_hands(tls.context, trusting(authority, newer.issue("new-device"))) == ["server", "new-device"]
    with pytest.raises(ssl.SSLError):
        shake_hands(tls.context, trusting(authority, old_client))
    assert tls.client_authority == newer.pem


def test_a_bad_authority_is_named_and_keeps_the_old(authority, tmp_path):
    trusted = tmp_path / "clients.pem"
    shutil.copy(authority.file, trusted)
    tls = make_tls(authority, *authority.issue("server"), tls_client_ca_file=str(trusted))
    trusted.write_text("nonsense")
    with pytest.raises(SettingError, match=r"SIGNALING_TLS_CLIENT_CA_FILE is .*clients\.pem"):
        reload(tls)
    assert shake_hands(tls.context, trusting(authority, authority.issue("device"))) == ["server", "device"]
    assert tls.client_authority == authority.pem


@pytest.mark.parametrize(("version", "works"), [("TLSv1_1", False), ("TLSv1_2", True), ("TLSv1_3", True)])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_the_oldest_version(authority, version, works):
    tls = make_tls(authority, *authority.issue("server"))
    client = trusting(authority)
    client.set_ciphers("DEFAULT@SECLEVEL=0")
    client.minimum_version = client.maximum_version = ssl.TLSVersion[version]
    if works:
        assert shake_hands(tls.context, client)[0] == "server"
    else:
        with pytest.raises(ssl.SSLError):
            shake_hands(tls.context, client)


def test_a_key_with_a_password_is_refused_and_none_is_asked_for(authority):
    with pytest.raises(SettingError, match="expected a certificate and its key"):
        make_tls(authority, *authority.issue("server", password=b"secret"))
