"""Certificates: errors that name the file, and a reload that keeps what was good."""

import shutil

import pytest

from sigbridge import SettingError, Settings
from sigbridge_net.access import Access
from sigbridge_net.tls import client_context, server_tls


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
    (tmp_path / "cert.pem").write_text("nonsense")
    with pytest.raises(SettingError):
        tls.reload()
    assert tls.certificate == before


def test_a_client_trusts_what_it_is_given(certificate):
    cert, _ = certificate
    assert len(client_context(Access(root_certificates=cert.read_bytes())).get_ca_certs()) == 1
