"""ICE servers as they are set, and credentials for TURN: what coturn's `use-auth-secret` takes, and nothing else."""

import base64
import hashlib
import hmac
import json
import re

import pytest

from sigbridge import SettingError, Settings
from sigbridge.ice_servers import MAX_TEXT_BYTES, IceStock, Turn, ice_servers_in, name_in_username
from sigbridge.settings import fields_from_file

SECRET = b"a secret of thirty-two letters!!"
TURN = Turn(("turn:t.example.org",), SECRET, 3600.0)


def is_secure(username):
    """Returns whether coturn takes a username (`is_secure_string` of its ns_turn_utils.c)."""
    lower = username.lower()
    return not re.search(r"[ \t'\"\n\r\\]", lower) and not ("union" in lower and "select" in lower)


def real_name(username):
    """Returns the user that coturn makes of a username (`get_real_username` of its userdb.c), and when its time ends."""
    end, colon, name = username.partition(":")
    assert colon
    assert end.isdigit()
    return int(end), name


# Credentials.


def test_credentials_are_the_hmac_of_the_username():
    given = IceStock((), TURN).servers_for("alice", 1_000_000.25)
    (server,) = given.servers
    assert server["urls"] == ["turn:t.example.org"]
    assert server["username"] == "1003601:alice"
    assert given.expires_unix_ms == 1_003_601_000
    digest = hmac.new(SECRET, b"1003601:alice", hashlib.sha1).digest()
    assert server["credential"] == base64.b64encode(digest).decode()


def test_credentials_last_at_least_as_long_as_is_set():
    stock = IceStock((), Turn(("turn:t",), SECRET, 1.5))
    ends = [stock.servers_for("a", 100 + part / 10).expires_unix_ms for part in range(10)]
    assert ends == [102_000] * 6 + [103_000] * 4


def test_servers_that_are_set_come_first_and_as_they_are():
    fixed = ({"urls": "stun:s"}, {"credential": "c", "urls": ["turn:t"], "username": "u"})
    assert IceStock(fixed).servers_for("alice", 0).servers == fixed
    assert IceStock(fixed).servers_for("alice", 0).expires_unix_ms is None
    assert IceStock(fixed, TURN).servers_for("alice", 0).servers[:2] == fixed
    assert IceStock().servers_for("alice", 0).servers == ()


@pytest.mark.parametrize(
    ("peer_id", "name"),
    [
        ("alice", "alice"),
        ("Alice-1.a_b", "Alice-1.a_b"),
        ("alice:2", "alice%3A2"),
        ("a b", "a%20b"),
        ("a/b", "a%2Fb"),
        ("é", "%C3%A9"),
        ("~a", "%7Ea"),
        ("100%", "100%25"),
        ('x\'; drop table "users"\\', "x%27%3B%20drop%20table%20%22users%22%5C"),
        ("0", "0"),
    ],
)
def test_the_name_of_a_peer_is_encoded(peer_id, name):
    assert name_in_username(peer_id) == name


@pytest.mark.parametrize("peer_id", ["é" * 128, "x" * 257, "union of selectors", "UNION-SeLeCT", "selectunion"])
def test_what_is_too_long_or_looks_like_sql_is_a_digest(peer_id):
    assert name_in_username(peer_id) == "~" + hashlib.sha256(peer_id.encode()).hexdigest()


def test_no_two_peers_have_one_name_and_all_are_taken():
    peer_ids = ["a", "a:b", "a%3Ab", "~a", "%7Ea", "a b", "a+b", "a%20b", "🙂" * 64, "x" * 256, "union select", "12:3"]
    peer_ids += [name_in_username(peer_id) for peer_id in peer_ids if not peer_id.isalnum()]
    usernames = {IceStock((), TURN).servers_for(one, 0.0).servers[0]["username"] for one in set(peer_ids)}
    assert len(usernames) == len(set(peer_ids))
    for username in usernames:
        assert is_secure(username), username
        # RFC 8489, section 14.3; coturn takes 512.
        assert len(username.encode()) <= 508
        end, name = real_name(username)
        assert end == 3600
        assert ":" not in name
        assert username.isascii()
        assert username.isprintable()


def test_secrets_are_in_no_repr():
    assert "secret of" not in repr(TURN)
    assert "secret of" not in repr(IceStock((), TURN))
    assert "hidden" not in repr(IceStock(({"urls": "turn:t", "username": "u", "credential": "hidden"},)))


def test_what_is_given_is_compared_by_content():
    fixed = ({"urls": "stun:s"},)
    assert IceStock(fixed, TURN).is_like(IceStock(({"urls": "stun:s"},), Turn(*TURN)))
    assert not IceStock(fixed).is_like(IceStock(fixed, TURN))
    assert not IceStock((), TURN).is_like(IceStock((), TURN._replace(secret=b"another")))


# What is set.

URLS = [
    "stun:stun.example.org",
    "stun:stun.example.org:3478",
    "stuns:192.0.2.1:5349",
    "turn:[2001:db8::1]:3478?transport=udp",
    "turns:turn.example.org?transport=tcp",
    "turn:localhost:65535",
]


def server_of(url):
    return {"urls": url, "username": "u", "credential": "c"}


@pytest.mark.parametrize("url", URLS)
def test_urls_of_browsers_are_taken(url):
    assert ice_servers_in(json.dumps([server_of(url)])) == (server_of(url),)
    assert ice_servers_in(json.dumps([server_of([url, url])])) == (server_of([url, url]),)
    if url.startswith("stun"):
        assert ice_servers_in(json.dumps([{"urls": url}])) == ({"urls": url},)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "stun",
        "stun:",
        "stun.example.org",
        "http://stun.example.org",
        "stun://stun.example.org",
        "stun:stun.example.org?transport=udp",
        "turn:turn.example.org?transport=sctp",
        "turn:turn.example.org?transport=udp&more=1",
        "turn:turn.example.org:0",
        "turn:turn.example.org:65536",
        "turn:turn.example.org:x",
        "turn:user@turn.example.org",
        "turn:turn.example.org/path",
        "turn:turn example.org",
        "turn:turn.example.org\n",
        "TURN:turn.example.org",
        "turn:2001:db8::1",
        "turn:[turn.example.org]",
    ],
)
def test_other_urls_are_refused(url):
    with pytest.raises(ValueError, match=r"URLs such as stun:stun.example.org:3478 .* in server 2"):
        ice_servers_in(json.dumps([{"urls": "stun:s"}, server_of(url)]))


@pytest.mark.parametrize(
    ("servers", "words"),
    [
        ("[", "JSON"),
        ("[" * 5000, "JSON"),
        ("\ud800", "JSON"),
        (["stun:s"], "an object with urls as server 1"),
        ([{}], "urls in server 1: a text, or an array of texts"),
        ([{"urls": []}], "urls in server 1: a text, or an array of texts"),
        ([{"urls": [1]}], "urls in server 1: a text, or an array of texts"),
        ([{"url": "stun:s"}], "urls, username and credential alone in server 1"),
        ([{"urls": "stun:s", "credentialType": "password"}], "urls, username and credential alone in server 1"),
        ([{"urls": "turn:t"}], "a text as username in server 1, whose URL is one of TURN"),
        ([{"urls": "turn:t", "username": "u"}], "a text as credential in server 1, whose URL is one of TURN"),
        ([{"urls": ["stun:s", "turns:t"]}], "a text as username in server 1, whose URL is one of TURN"),
        ([{"urls": "stun:s", "username": 1}], "a text as username in server 1"),
        ([{"urls": "stun:s", "credential": ""}], "a text as credential in server 1"),
        ([{"urls": "turn:t", "username": "u", "credential": "a\nb"}], "a text as credential in server 1, whose"),
        ([{"urls": "stun:" + "x" * MAX_TEXT_BYTES}], f"at most {MAX_TEXT_BYTES} bytes"),
        (["é" * (MAX_TEXT_BYTES // 2)], f"at most {MAX_TEXT_BYTES} bytes"),
    ],
)
def test_what_browsers_would_refuse_is_refused_and_said(servers, words):
    text = servers if isinstance(servers, str) else json.dumps(servers, ensure_ascii=False)
    with pytest.raises(ValueError, match=re.escape(words)):
        ice_servers_in(text)


def test_one_object_and_none_are_taken():
    assert ice_servers_in('{"urls": "stun:s"}') == ({"urls": "stun:s"},)
    assert ice_servers_in("[]") == ()


# Settings.


def test_settings_are_checked_when_they_are_made():
    environ = {
        "SIGNALING_ICE_SERVERS": ' [{"urls": "stun:s"}]',
        "SIGNALING_TURN_URLS": "turn:t?transport=udp, turns:t",
        "SIGNALING_TURN_SECRET_FILE": "/run/secrets/turn",
        "SIGNALING_TURN_TTL_SEC": "600",
    }
    settings = Settings.from_environment(environ)
    assert settings.turn_urls == ("turn:t?transport=udp", "turns:t")
    assert (settings.turn_secret_file, settings.turn_ttl_seconds) == ("/run/secrets/turn", 600.0)
    assert ice_servers_in(settings.ice_servers) == ({"urls": "stun:s"},)
    assert Settings.from_environment({"SIGNALING_ICE_SERVERS": "/etc/ice.json"}).ice_servers == "/etc/ice.json"


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"SIGNALING_ICE_SERVERS": "[1"}, "SIGNALING_ICE_SERVERS: expected JSON"),
        ({"SIGNALING_ICE_SERVERS": '[{"urls": "stun:"}]'}, "SIGNALING_ICE_SERVERS: expected URLs such as"),
        ({"SIGNALING_TURN_URLS": "turn:t"}, "SIGNALING_TURN_URLS is set: expected SIGNALING_TURN_SECRET_FILE too"),
        ({"SIGNALING_TURN_SECRET_FILE": "f"}, "SIGNALING_TURN_SECRET_FILE is set: expected SIGNALING_TURN_URLS too"),
        (
            {"SIGNALING_TURN_URLS": "stun:t", "SIGNALING_TURN_SECRET_FILE": "f"},
            "SIGNALING_TURN_URLS is 'stun:t': expected URLs such as turn:turn.example.org:3478",
        ),
        ({"SIGNALING_TURN_URLS": "turn://t", "SIGNALING_TURN_SECRET_FILE": "f"}, "SIGNALING_TURN_URLS is 'turn://t': "),
        (
            {"SIGNALING_TURN_TTL_SEC": "0"},
            "SIGNALING_TURN_TTL_SEC is 0.0: expected a number of seconds, at least 1 and below 1e9",
        ),
    ],
)
def test_wrong_settings_name_their_variable(environ, words):
    with pytest.raises(SettingError) as caught:
        Settings.from_environment(environ)
    assert words in str(caught.value)


def test_a_wrong_setting_shows_no_credential():
    text = json.dumps([{"urls": "turn:", "username": "u", "credential": "hidden!"}])
    with pytest.raises(SettingError) as caught:
        Settings(ice_servers=text)
    assert "hidden!" not in str(caught.value)
    text = json.dumps([{"urls": "turn:t", "username": "u", "credential": "hidden!"}])
    assert "hidden!" not in repr(Settings(ice_servers=text))


def test_a_typed_file_may_hold_the_servers_as_they_are():
    servers = [{"urls": ["stun:s"]}, {"urls": "turn:t", "username": "u", "credential": "é"}]
    settings = Settings(**fields_from_file({"SIGNALING_ICE_SERVERS": servers}))
    assert ice_servers_in(settings.ice_servers) == (*servers,)
    assert fields_from_file({"SIGNALING_ICE_SERVERS": "/etc/ice.json"}) == {"ice_servers": "/etc/ice.json"}
    for wrong in (5, True, [5], [{"urls": "t:"}]):
        with pytest.raises(SettingError, match="SIGNALING_ICE_SERVERS"):
            fields_from_file({"SIGNALING_ICE_SERVERS": wrong})
