"""The files of ICE servers: what they may hold, and that what is wrong with them is said without it."""

import json
import re

import pytest

from clock import NOW
from sigbridge import SettingError, Settings
from sigbridge.ice_servers import IceStock, Turn
from sigbridge_net.ice_files import IceFiles

SERVERS = [{"urls": "stun:s"}, {"urls": ["turn:t"], "username": "u", "credential": "hidden!"}]
SECRET, BEFORE = "the secret that is now", "the secret of before"
URLS = ("turn:t.example.org",)


@pytest.fixture
def secret(tmp_path):
    return tmp_path / "turn-secret"


@pytest.fixture
def servers(tmp_path):
    return tmp_path / "ice.json"


def files_of(**settings):
    """The files of these settings, and what they have given."""
    given = []
    return IceFiles(Settings(**settings), given.append), given


def turn_of(secret):
    """The stock of a file of secrets."""
    _, (stock,) = files_of(turn_urls=URLS, turn_secret_file=str(secret), turn_ttl_seconds=60.0)
    return stock


def test_without_files_there_is_nothing_to_watch_and_nothing_is_given():
    for settings in ({}, {"ice_servers": json.dumps(SERVERS)}):
        files, given = files_of(**settings)
        assert (files.paths, given) == ((), [])


def test_a_file_of_servers(servers):
    servers.write_text(json.dumps(SERVERS))
    files, (stock,) = files_of(ice_servers=str(servers))
    assert files.paths == (str(servers),)
    assert stock.is_like(IceStock((*SERVERS,)))


def test_a_secret_beside_servers_of_either_kind(servers, secret):
    servers.write_text(json.dumps(SERVERS))
    secret.write_text(f"{SECRET}\n")
    expected = IceStock((*SERVERS,), Turn(URLS, SECRET.encode(), 60.0))
    for text in (str(servers), json.dumps(SERVERS)):
        files, (stock,) = files_of(
            ice_servers=text, turn_urls=URLS, turn_secret_file=str(secret), turn_ttl_seconds=60.0
        )
        assert files.paths[-1] == str(secret)
        assert stock.is_like(expected)


@pytest.mark.parametrize(
    "text",
    [SECRET, f"{SECRET}\n", f"{SECRET}\r\n", f"\n{SECRET}\n\n", f"{SECRET}\n{BEFORE}\n", f"{SECRET}\r\n{BEFORE}"],
)
def test_credentials_are_made_by_the_secret_in_the_first_line(secret, text):
    secret.write_bytes(text.encode())
    assert turn_of(secret).is_like(IceStock((), Turn(URLS, SECRET.encode(), 60.0)))


def test_another_secret_before_changes_nothing(secret):
    secret.write_text(f"{SECRET}\n")
    before = turn_of(secret)
    secret.write_text(f"{SECRET}\n{BEFORE}\n")
    assert turn_of(secret).is_like(before)
    secret.write_text(f"{BEFORE}\n{SECRET}\n")
    assert not turn_of(secret).is_like(before)


def test_a_secret_may_be_bytes_of_any_kind(secret):
    secret.write_bytes(bytes(range(0x80, 0xA0)))
    assert turn_of(secret).turn.secret == bytes(range(0x80, 0xA0))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected a secret in the first line, and at most the one before in the second"),
        ("\n \n", "expected a secret in the first line"),
        (f"{SECRET}\n{BEFORE}\n{SECRET}\n", "at most the one before in the second"),
        ("too short", "expected secrets of at least 16 bytes (line 1 is shorter)"),
        (f"{SECRET}\nbrief!", "expected secrets of at least 16 bytes (line 2 is shorter)"),
        (f"{SECRET} \n", "expected secrets without blanks around them (line 1 has some)"),
    ],
)
def test_a_wrong_file_of_secrets_is_said_without_them(secret, text, words):
    secret.write_text(text)
    with pytest.raises(SettingError, match=re.escape(words)) as caught:
        turn_of(secret)
    assert f"SIGNALING_TURN_SECRET_FILE is {str(secret)!r}" in str(caught.value)
    for part in filter(str.strip, text.split("\n")):
        assert part not in str(caught.value)


@pytest.mark.parametrize("path", ["missing", "", "\0"])
def test_a_file_of_secrets_that_cannot_be_read(tmp_path, path):
    with pytest.raises(SettingError, match=r"SIGNALING_TURN_SECRET_FILE is .*: expected a file that can be read"):
        turn_of(f"{tmp_path}/{path}")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "expected JSON"),
        (b"[}", "expected JSON"),
        (b"\xff", "expected text in UTF-8"),
        (b'[{"urls":"turn:t","username":"u"}]', "expected a text as credential in server 1"),
        (b'[{"urls":"turn:","username":"u","credential":"hidden!"}]', "expected URLs such as"),
    ],
)
def test_a_wrong_file_of_servers_is_said_without_credentials(servers, content, words):
    servers.write_bytes(content)
    with pytest.raises(SettingError) as caught:
        files_of(ice_servers=str(servers))
    assert words in str(caught.value)
    assert f"SIGNALING_ICE_SERVERS is {str(servers)!r}" in str(caught.value)
    assert "hidden!" not in str(caught.value)


def test_what_is_neither_json_nor_a_file_is_said_without_what_it_may_hold():
    for text, shown in (("stun:s", "'stun:s'"), (f"'{json.dumps(SERVERS)}'", "(hidden)")):
        with pytest.raises(SettingError, match="expected a JSON array, or a file that can be read") as caught:
            files_of(ice_servers=text)
        assert f"SIGNALING_ICE_SERVERS is {shown}" in str(caught.value)
        assert "hidden!" not in str(caught.value)


def test_what_is_read_again_is_given_when_it_is_put(secret):
    secret.write_text(SECRET)
    files, given = files_of(turn_urls=URLS, turn_secret_file=str(secret))
    secret.write_text(f"{BEFORE}\n{SECRET}")
    content = files.read()
    assert len(given) == 1
    files.put(content, NOW)
    assert given[1].turn.secret == BEFORE.encode()
