"""The settings: defaults, variables, and the text of every refusal."""

import dataclasses
import re

import pytest

from sigbridge import SettingError, Settings
from sigbridge.settings import parse_address, setting_infos, subjects


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
            "SIGNALING_SEND_DEADLINE_SEC is 0.0: expected a number of seconds above 0",
        ),
        (
            {"SIGNALING_SEND_DEADLINE_SEC": "nan"},
            "SIGNALING_SEND_DEADLINE_SEC is nan: expected a number of seconds above 0",
        ),
        (
            {"SIGNALING_SEND_DEADLINE_SEC": "inf"},
            "SIGNALING_SEND_DEADLINE_SEC is inf: expected a number of seconds above 0",
        ),
        (
            {"GRPC_MAX_CONNECTION_AGE_SEC": "-1"},
            "GRPC_MAX_CONNECTION_AGE_SEC is -1.0: expected a number of seconds, 0 or more",
        ),
        ({"SIGNALING_REPLAY_ROSTER": "maybe"}, "SIGNALING_REPLAY_ROSTER is 'maybe': expected true or false"),
        (
            {"GRPC_BIND_ADDRESS": "localhost"},
            "GRPC_BIND_ADDRESS is 'localhost': expected an address such as 127.0.0.1:50051, [::1]:50051 or :50051",
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
                "SIGNALING_TLS_CLIENT_CA_FILE is empty: SIGNALING_CERTIFICATE_IS_ENOUGH is true, and no client shows a "
                "certificate that is not asked for"
            ),
        ),
        (
            {"SIGNALING_TLS_SUBJECT_PEER_ID": "true"},
            (
                "SIGNALING_TLS_CLIENT_CA_FILE is empty: SIGNALING_TLS_SUBJECT_PEER_ID is true, and no client shows a "
                "certificate that is not asked for"
            ),
        ),
        (
            {"SIGNALING_JWT_ISSUER": "https://idp", "GRPC_AUTH_TOKENS": "x"},
            (
                "SIGNALING_JWT_ISSUER is set, and no JWT can be checked: expected keys too, by SIGNALING_JWT_KEY_FILE, "
                "SIGNALING_JWT_JWKS_FILE or SIGNALING_JWT_HMAC_SECRET_FILE"
            ),
        ),
        (
            {"SIGNALING_JWT_AUDIENCE": "signaling"},
            (
                "SIGNALING_JWT_AUDIENCE is set, and no JWT can be checked: expected keys too, by SIGNALING_JWT_KEY_FILE, "
                "SIGNALING_JWT_JWKS_FILE or SIGNALING_JWT_HMAC_SECRET_FILE"
            ),
        ),
        (
            {"SIGNALING_LOG_LEVEL": "loud"},
            "SIGNALING_LOG_LEVEL is 'loud': expected debug, info, warning or error",
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
        (":0", ("0.0.0.0", 0)),
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
    ],
)
def test_no_addresses(text):
    with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
        parse_address(text)
