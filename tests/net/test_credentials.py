"""Credentials in headers: the token that they carry, and the text that it is."""

import pytest

from sigbridge_net.credentials import bearer_token, utf8_of_latin1


@pytest.mark.parametrize(
    ("values", "token", "bare_token"),
    [
        ([], None, None),
        (["Bearer abc"], "abc", "abc"),
        (["bearer abc"], "abc", "abc"),
        (["BEARER   abc  "], "abc", "abc"),
        (["  Bearer abc"], "abc", "abc"),
        (["abc"], None, "abc"),
        (["  abc "], None, "abc"),
        (["Basic abc"], None, None),
        (["Bearer "], None, "Bearer"),
        ([""], None, None),
        (["  "], None, None),
        (["Bearer abc", "Bearer abc"], None, None),
        (["abc", "abc"], None, None),
        (["Bearer abc, Bearer def"], "abc, Bearer def", "abc, Bearer def"),
        (["Bearer ünï"], "ünï", "ünï"),
    ],
)
def test_the_token_of_an_authorization_header(values, token, bare_token):
    assert bearer_token(values) == token
    assert bearer_token(iter(values), bare=True) == bare_token


@pytest.mark.parametrize(
    ("text", "token"),
    [
        ("", ""),
        ("abc", "abc"),
        ("Bearer \u00c3\u00bcn\u00c3\u00af", "Bearer ünï"),
        ("\u00e4\u00b8\u0089", "三"),
        ("\u00f0\u009f\u0091\u008b", "👋"),
        ("\u00fc", "\udcfc"),
        ("t\u00ff", "t\udcff"),
        ("\u00ed\u00a0\u0080", "\udced\udca0\udc80"),
    ],
)
def test_a_header_that_was_read_as_latin_1_is_utf_8(text, token):
    assert utf8_of_latin1(text) == token


def test_what_is_no_latin_1_is_no_token_of_anybody():
    assert utf8_of_latin1("三") == "?"


@pytest.mark.parametrize("token", ["abc", "drei-ü-三", "👋"])
def test_a_token_survives_a_library_that_reads_latin_1(token):
    header = f"Bearer {token}".encode().decode("latin-1")
    assert bearer_token([utf8_of_latin1(header)]) == token
