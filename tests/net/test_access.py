"""What a client shows, which no log must."""

from sigbridge_net.access import NO_ACCESS, Access


def test_a_token_is_not_shown():
    assert "canary" not in repr(Access(token="canary"))
    assert "canary" not in f"{Access(token='canary')}"


def test_nothing_is_shown_by_default():
    assert Access() == NO_ACCESS
    assert (NO_ACCESS.token, NO_ACCESS.root_certificates, NO_ACCESS.certificate_file) == (None, None, "")
