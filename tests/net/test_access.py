"""Secrets that a client shows, which no log must."""

import pytest

from sigbridge_net.access import NO_ACCESS, Access, read_token
from sigbridge_net.errors import AccessError


def test_a_token_is_not_shown():
    assert "canary" not in repr(Access(token="canary"))
    assert "canary" not in f"{Access(token='canary')}"


def test_nothing_is_shown_by_default():
    assert Access() == NO_ACCESS
    assert (NO_ACCESS.token, NO_ACCESS.root_certificates, NO_ACCESS.certificate_file) == (None, None, "")


@pytest.mark.parametrize("token", ["a\nb", "a\x00b", "\udcff", "a\tb"])
def test_a_token_that_no_header_can_carry(token):
    with pytest.raises(AccessError, match=r"^the API token holds what no header can carry"):
        Access(token=token)


@pytest.mark.parametrize("roots", [b"", b"nonsense", b"\xff\xfe"])
def test_authorities_that_are_no_certificates(roots):
    with pytest.raises(AccessError, match=r"^the authorities are not certificates: expected them in PEM$"):
        Access(root_certificates=roots)


def test_a_token_in_a_file_is_text(tmp_path):
    file = tmp_path / "token"
    file.write_bytes(b" t\xc3\xb6ken\n")
    assert read_token(str(file)) == "t\u00f6ken"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(AccessError, match=r"holds no API token: expected text in UTF-8$"):
        read_token(str(file))
