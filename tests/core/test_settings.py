"""The settings: defaults, variables, and the text of every refusal."""

import dataclasses
import re

import pytest

from sigbridge import SettingError, Settings
from sigbridge.settings import BindAddress, parse_address, parse_addresses, setting_infos, subjects
from sigbridge.settings.declare import ADDRESSES


def test_the_defaults_of_the_protocol():
    settings = Settings()
    assert (settings.max_sdp_bytes, settings.max_candidate_bytes) == (128 * 1024, 4 * 1024)
    assert (settings.max_metadata_bytes, settings.max_capabilities_bytes) == (16 * 1024, 16 * 1024)
    assert settings.max_message_bytes == 1024 * 1024
    assert settings.pending_offer_seconds == 60
    assert settings.replay_roster


def test_every_setting_has_a_variable_of_its_own_a_meaning_and_a_check():
    infos = setting_infos()
    assert sorted(infos) == sorted(field.name for field in dataclasses.fields(Settings))
    variables = [info.env for info in infos.values()]
    assert len(variables) == len(set(variables))
    for name, info in infos.items():
        assert info.env.isupper(), name
        assert info.meaning, name
        assert info.check(getattr(Settings(), name)), name


def test_every_setting_has_one_subject_in_a_file_of_its_own():
    names = [name for subject in subjects() for name in subject.infos()]
    assert names == list(setting_infos())
    assert len(names) == len(set(names))
    for subject in subjects():
        assert subject.__module__ == f"sigbridge.settings.{subject.__name__.lower()}"
        assert subject.title
        assert subject.__doc__


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({"SIGNALING_MAX_SDP_BYTES": "many"}, "SIGNALING_MAX_SDP_BYTES is 'many': expected a whole number, at least 1"),
        ({"SIGNALING_MAX_SDP_BYTES": "0"}, "SIGNALING_MAX_SDP_BYTES is 0: expected a whole number, at least 1"),
        ({"SIGNALING_MAX_SDP_BYTES": "1.5"}, "SIGNALING_MAX_SDP_BYTES is '1.5': expected a whole number, at least 1"),
        (
            {"SIGNALING_SEND_DEADLINE_SEC": "0"},
            "SIGNALING_SEND_DEADLINE_SEC is 0.0: expected a number of seconds above 0 and below 1e9",
        ),
        (
            {"SIGNALING_SEND_DEADLINE_SEC": "nan"},
            "SIGNALING_SEND_DEADLINE_SEC is nan: expected a number of seconds above 0 and below 1e9",
        ),
        (
            {"SIGNALING_SEND_DEADLINE_SEC": "inf"},
            "SIGNALING_SEND_DEADLINE_SEC is inf: expected a number of seconds above 0 and below 1e9",
        ),
        (
            {"GRPC_MAX_CONNECTION_AGE_SEC": "-1"},
            "GRPC_MAX_CONNECTION_AGE_SEC is -1.0: expected a number of seconds, at least 0 and below 1e9",
        ),
        ({"SIGNALING_REPLAY_ROSTER": "maybe"}, "SIGNALING_REPLAY_ROSTER is 'maybe': expected true or false"),
        (
            {"GRPC_BIND_ADDRESS": "localhost"},
            f"GRPC_BIND_ADDRESS is 'localhost': expected {ADDRESSES}",
        ),
        (
            {"SIGNALING_TLS_CERT_FILE": "cert.pem"},
            "SIGNALING_TLS_KEY_FILE is empty: TLS needs a certificate and its key",
        ),
        (
            {"SIGNALING_TLS_KEY_FILE": "key.pem"},
            "SIGNALING_TLS_CERT_FILE is empty: TLS needs a certificate and its key",
        ),
        (
            {"SIGNALING_CERTIFICATE_IS_ENOUGH": "true", "GRPC_AUTH_TOKENS": "x"},
            (
                "SIGNALING_TLS_CLIENT_CA_FILE is empty: SIGNALING_CERTIFICATE_IS_ENOUGH is true and needs client "
                "certificates"
            ),
        ),
        (
            {"SIGNALING_TLS_SUBJECT_PEER_ID": "true"},
            (
                "SIGNALING_TLS_CLIENT_CA_FILE is empty: SIGNALING_TLS_SUBJECT_PEER_ID is true and needs client "
                "certificates"
            ),
        ),
        (
            {"SIGNALING_JWT_ISSUER": "https://idp", "GRPC_AUTH_TOKENS": "x"},
            (
                "SIGNALING_JWT_ISSUER is set without keys of JWTs: expected one of SIGNALING_JWT_KEY_FILE, "
                "SIGNALING_JWT_JWKS_FILE or SIGNALING_JWT_HMAC_SECRET_FILE too"
            ),
        ),
        (
            {"SIGNALING_JWT_AUDIENCE": "signaling"},
            (
                "SIGNALING_JWT_AUDIENCE is set without keys of JWTs: expected one of SIGNALING_JWT_KEY_FILE, "
                "SIGNALING_JWT_JWKS_FILE or SIGNALING_JWT_HMAC_SECRET_FILE too"
            ),
        ),
        (
            {"SIGNALING_LOG_LEVEL": "loud"},
            "SIGNALING_LOG_LEVEL is 'loud': expected debug, info, warning or error",
        ),
        (
            {"SIGNALING_CLIENT_ADDRESS_FROM": "X-Real-IP", "SIGNALING_TRUSTED_PROXIES": "192.0.2.1"},
            ("SIGNALING_CLIENT_ADDRESS_FROM is 'X-Real-IP': expected none, x-forwarded-for, forwarded or proxy"),
        ),
        (
            {"SIGNALING_CLIENT_ADDRESS_FROM": "forwarded"},
            (
                "SIGNALING_CLIENT_ADDRESS_FROM is 'forwarded', and SIGNALING_TRUSTED_PROXIES is not set: expected the "
                "proxies that may state a client's address"
            ),
        ),
        (
            {"SIGNALING_TRUSTED_PROXIES": "192.0.2.1, proxy"},
            (
                "SIGNALING_TRUSTED_PROXIES holds 'proxy' ('proxy' does not appear to be an IPv4 or IPv6 network): "
                "expected addresses, networks such as 10.0.0.0/8, or unix"
            ),
        ),
        (
            {
                "SIGNALING_CLIENT_ADDRESS_FROM": "proxy",
                "SIGNALING_TRUSTED_PROXIES": "unix",
                "GRPC_ENGINE": "grpcio",
            },
            (
                "SIGNALING_CLIENT_ADDRESS_FROM is 'proxy': expected GRPC_ENGINE=native, or x-forwarded-for or "
                "forwarded, since the library of GRPC_ENGINE=grpcio does not read the PROXY protocol"
            ),
        ),
    ],
)
def test_what_is_wrong_is_said(environ, text):
    with pytest.raises(SettingError) as refused:
        Settings.from_environment(environ)
    assert str(refused.value) == text


def test_what_is_made_in_code_is_checked_too():
    assert Settings().connection_limit == 41_000
    assert Settings(max_sessions=7).connection_limit == 1014
    assert Settings(max_sessions=7, max_connections=3).connection_limit == 3


def test_unfinished_messages_have_a_quarter_of_the_memory_where_that_is_less():
    assert Settings().unfinished_limit == 64 * 2**20
    assert Settings(max_memory_mb=100).unfinished_limit == 25 * 2**20
    assert Settings(max_memory_mb=1000).unfinished_limit == 64 * 2**20
    assert Settings(max_memory_mb=100, max_unfinished_bytes=5).unfinished_limit == 5
    with pytest.raises(SettingError, match="SIGNALING_MAX_SESSIONS is 0: expected a whole number, at least 1"):
        Settings(max_sessions=0)


@pytest.mark.parametrize(("word", "value"), [("true", True), ("1", True), (" ON ", True), ("No", False), ("0", False)])
def test_switches(word, value):
    assert Settings.from_environment({"SIGNALING_REPLAY_ROSTER": word}).replay_roster is value


def test_empty_and_unknown_variables_change_nothing():
    environ = {"SIGNALING_MAX_SDP_BYTES": "", "SIGNALING_UNKNOWN": "1", "PATH": "/bin"}
    assert Settings.from_environment(environ) == Settings()


def test_values_are_read():
    settings = Settings.from_environment({"SIGNALING_MAX_SDP_BYTES": "10", "SIGNALING_SEND_DEADLINE_SEC": "0.5"})
    assert (settings.max_sdp_bytes, settings.send_deadline_seconds) == (10, 0.5)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:1", ("127.0.0.1", 1)),
        ("[::1]:65535", ("::1", 65535)),
        (":0", ("::", 0)),
        ("[::]:7", ("::", 7)),
        ("[0:0::1]:7", ("::1", 7)),
        ("[::ffff:192.0.2.1]:7", ("192.0.2.1", 7)),
        ("[fe80::1%eth0]:7", ("fe80::1%eth0", 7)),
        ("example.org:8080", ("example.org", 8080)),
    ],
)
def test_addresses(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8080",
        "host",
        "host:",
        "host:x",
        "host:65536",
        "::1:80",
        "host:-1",
        "host:1\u0660",
        "a..b:1",
        f"{'a' * 64}:1",
        "\udcff:1",
        "[::g]:1",
        "[a:b]:1",
    ],
)
def test_no_addresses(text):
    with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
        parse_address(text)


def test_lists_of_addresses():
    found = parse_addresses("127.0.0.1:1, [::]:1,:1 ,unix:/run/a b.sock,localhost:0,localhost:0,unix:/run/a b.sock")
    assert [str(address) for address in found] == [
        "127.0.0.1:1",
        "[::]:1",
        "unix:/run/a b.sock",
        "localhost:0",
        "localhost:0",
    ]
    assert found[2] == BindAddress("", 0, "/run/a b.sock")
    assert [address.is_fixed for address in found] == [True, True, True, False, False]
    assert parse_addresses("127.0.0.1:1,") == found[:1]


@pytest.mark.parametrize(
    "text", ["", ",", "127.0.0.1:1,host", "unix:", "unix:/", "unix:run", "unix:/run/", "unix:/\0", f"unix:/{'a' * 107}"]
)
def test_no_lists_of_addresses(text):
    with pytest.raises(ValueError):  # noqa: PT011 - what is wrong is a part of it, or all
        parse_addresses(text)


def test_both_families_leave_ipv4_to_whoever_has_it():
    both, ipv4, other = parse_addresses("[::]:1,0.0.0.0:1,0.0.0.0:2")
    assert both.is_ipv6_alone((both, ipv4))
    assert not both.is_ipv6_alone((both, other))
    assert not ipv4.is_ipv6_alone((both, ipv4))
    chosen, chosen_too = parse_addresses("[::]:0,0.0.0.0:0")
    assert not chosen.is_ipv6_alone((chosen, chosen_too)), "they get different ports"


def test_the_operator_s_addresses_may_be_off():
    assert Settings(http_bind_address="off").http_addresses == ()
    assert [str(address) for address in Settings().http_addresses] == ["127.0.0.1:9090"]


@pytest.mark.parametrize(("text", "mode"), [("0660", 0o660), ("600", 0o600), ("0777", 0o777)])
def test_modes(text, mode):
    assert Settings(unix_mode=text).unix_mode_bits == mode


@pytest.mark.parametrize("text", ["8", "0", "01777", "-1", "rw", "0o660", "\u0660"])
def test_no_modes(text):
    with pytest.raises(SettingError, match=r"SIGNALING_UNIX_MODE is .*: expected an octal number such as 0660"):
        Settings(unix_mode=text)


def test_grpcio_shares_no_address_and_cannot_listen_on_ipv6_alone():
    with pytest.raises(SettingError, match=r"WS_BIND_ADDRESS is .*GRPC_ENGINE=native"):
        Settings(grpc_engine="grpcio", grpc_bind_address=":1,:2", ws_bind_address=":3,[::]:2")
    for others in ({"ws_bind_address": "0.0.0.0:1"}, {"http_bind_address": "0.0.0.0:1"}):
        with pytest.raises(SettingError, match=r"GRPC_BIND_ADDRESS is .*can listen on IPv6 alone"):
            Settings(grpc_engine="grpcio", grpc_bind_address=":1", **others)
        Settings(grpc_engine="native", grpc_bind_address=":1", **others)
    Settings(grpc_engine="grpcio", grpc_bind_address=":1,0.0.0.0:1")
