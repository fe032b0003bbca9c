"""The reasons for which a connection ends."""

from sigbridge import DisconnectReason


def test_words_are_unique_and_follow_their_names():
    words = [reason.word for reason in DisconnectReason]
    assert len(words) == len(set(words))
    assert words == [reason.name.lower() for reason in DisconnectReason]


def test_who_should_come_back():
    assert {reason.word for reason in DisconnectReason if reason.reconnect} >= {
        "draining",
        "slow_consumer",
        "token_expired",
        "announce_timeout",
        "flooding",
        "message_too_big",
        "message_timeout",
        "overload",
        "max_age",
        "internal_error",
    }
    assert {reason.word for reason in DisconnectReason if reason.reconnect is False} == {
        "not_utf8",
        "protocol_error",
        "replaced",
        "revoked",
    }
    assert DisconnectReason.CLIENT_LEFT.reconnect is None
