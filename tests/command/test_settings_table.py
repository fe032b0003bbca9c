"""Settings as an operator meets them: every variable, what is said of a wrong one, and the table that hides secrets."""

import json

import pytest

from sigbridge import SettingError, Settings
from sigbridge.settings import setting_infos, subjects
from sigbridge_command.settings_table import print_settings, settings_rows
from sigbridge_command.sources import Files, Given

INFOS = setting_infos()
WRONG = {
    "a whole number, at least 1": ["0", "-1", "1.5", "many", "1e3", "0x10", ""],
    "a whole number, at least 0": ["-1", "1.5", "many"],
    "a number of seconds above 0 and below 1e9": ["0", "-1", "soon", "nan", "inf", "1e9"],
    "a number of seconds, at least 0 and below 1e9": ["-1", "soon", "nan", "inf", "1e9"],
    "a number of seconds, at least 1 and below 1e9": ["0", "0.9", "soon", "nan", "inf", "1e9"],
    "a number of requests per second, at least 0 and below 1e9": ["-1", "many", "nan", "inf", "1e9"],
    "true or false": ["maybe", "2", "yess"],
    "debug, info, warning or error": ["loud", "trace", "info,sigbridge=debug"],
    "an address such as 127.0.0.1:50051, [::1]:50051 or :50051": ["localhost", "50051", "h:x", "h:65536", "::1:1"],
    "an address such as 127.0.0.1:9090, or off": ["localhost", "OFFF", "none"],
    "tokens separated by commas": [",", " , "],
    "announce, relay and list, or some of them, separated by commas; or none": ["lsit", "Announce", "list-all"],
    "origins such as https://example.org, separated by commas, or *": [","],
}


@pytest.mark.parametrize(
    ("variable", "text", "expects"),
    [(info.env, text, info.expects) for info in INFOS.values() for text in WRONG.get(info.expects, ()) if text],
)
def test_a_wrong_value_is_named_with_its_variable_and_what_would_be_right(variable, text, expects):
    with pytest.raises(SettingError) as error:
        Settings.from_environment({variable: text})
    message = str(error.value)
    assert message.startswith(f"{variable} is ")
    assert message.endswith(f": expected {expects}")
    assert "\n" not in message
    (info,) = [info for info in INFOS.values() if info.env == variable]
    assert info.secret or text in message or str(float(text)) in message


def test_no_rights_stand_beside_none():
    with pytest.raises(SettingError, match="SIGNALING_ANONYMOUS_RIGHTS"):
        Settings.from_environment({"SIGNALING_ANONYMOUS_RIGHTS": "none,list"})
    assert Settings.from_environment({"SIGNALING_ANONYMOUS_RIGHTS": "none"}).anonymous_rights == ("none",)


RIGHT = {
    "a whole number, at least 1": ("17", 17),
    "a whole number, at least 0": ("0", 0),
    "a number of seconds above 0 and below 1e9": ("2.5", 2.5),
    "a number of seconds, at least 0 and below 1e9": ("0", 0.0),
    "a number of requests per second, at least 0 and below 1e9": ("0.5", 0.5),
    "true or false": ("true", True),
    "debug, info, warning or error": ("Debug", "Debug"),
    "an address such as 127.0.0.1:50051, [::1]:50051 or :50051": ("[::1]:1", "[::1]:1"),
    "an address such as 127.0.0.1:9090, or off": ("off", "off"),
    "tokens separated by commas": (" a ,, b", ("a", "b")),
    "announce, relay and list, or some of them, separated by commas; or none": ("list, relay", ("list", "relay")),
    "origins such as https://example.org, separated by commas, or *": ("https://a.example", ("https://a.example",)),
}


TLS = {f"SIGNALING_TLS_{name}_FILE": "x" for name in ("CERT", "KEY", "CLIENT_CA")}


@pytest.mark.parametrize("name", [name for name, info in INFOS.items() if info.expects in RIGHT])
def test_every_variable_is_read(name):
    info = INFOS[name]
    text, value = RIGHT[info.expects]
    # Some settings need others beside them.
    environ = {"GRPC_AUTH_TOKENS": "x", **TLS, info.env: text}
    assert getattr(Settings.from_environment(environ), name) == value


def test_tokens_are_in_no_message():
    for environ in (
        {"GRPC_AUTH_TOKENS": "canary", "GRPC_REQUIRE_AUTH": "maybe"},
        {"GRPC_AUTH_TOKENS": "canary", "SIGNALING_TLS_CERT_FILE": "x"},
    ):
        with pytest.raises(SettingError) as error:
            Settings.from_environment(environ)
        assert "canary" not in str(error.value)


@pytest.mark.parametrize("variable", ["GRPC_REQUIRE_AUTH", "WS_REQUIRE_AUTH"])
def test_required_but_none(variable):
    with pytest.raises(SettingError) as error:
        Settings.from_environment({variable: "true"})
    assert str(error.value) == (
        f"GRPC_AUTH_TOKENS is empty: {variable} is true and needs at least one token, SIGNALING_TOKENS_FILE, or keys of "
        "JWTs"
    )


@pytest.mark.parametrize(
    ("environ", "grpc", "websocket"),
    [
        ({}, False, False),
        ({"GRPC_AUTH_TOKENS": "t"}, True, True),
        ({"GRPC_AUTH_TOKENS": "t", "GRPC_REQUIRE_AUTH": "false"}, False, False),
        ({"GRPC_AUTH_TOKENS": "t", "WS_REQUIRE_AUTH": "false"}, True, False),
        ({"GRPC_AUTH_TOKENS": "t", "GRPC_REQUIRE_AUTH": "false", "WS_REQUIRE_AUTH": "true"}, False, True),
        ({"GRPC_AUTH_TOKENS": "t", "GRPC_REQUIRE_AUTH": "true"}, True, True),
        ({"GRPC_REQUIRE_AUTH": "false"}, False, False),
    ],
)
def test_who_is_asked_for_a_token(environ, grpc, websocket):
    settings = Settings.from_environment(environ)
    assert (settings.grpc_asks_for_token, settings.websocket_asks_for_token) == (grpc, websocket)


@pytest.mark.parametrize(
    ("environ", "level"),
    [
        ({}, "info"),
        ({"RUST_LOG": "debug"}, "debug"),
        ({"RUST_LOG": " WARN "}, "warning"),
        ({"RUST_LOG": "trace"}, "debug"),
        ({"RUST_LOG": "error"}, "error"),
        ({"RUST_LOG": "off"}, "info"),
        ({"RUST_LOG": "info,tower=debug"}, "info"),
        ({"RUST_LOG": "sigbridge=debug"}, "info"),
        ({"RUST_LOG": "debug", "SIGNALING_LOG_LEVEL": "error"}, "error"),
        ({"RUST_LOG": "debug", "SIGNALING_LOG_LEVEL": ""}, "debug"),
    ],
)
def test_the_level_of_deployments_of_old(environ, level):
    assert Settings.from_environment(environ).log_level == level


# The table.


def given(**environ):
    return Given(Files(), environ)


def test_a_row_for_each_setting():
    rows = settings_rows(given(SIGNALING_MAX_SDP_BYTES="7"))
    assert [row["variable"] for row in rows] == [info.env for info in INFOS.values()]
    (row,) = [row for row in rows if row["variable"] == "SIGNALING_MAX_SDP_BYTES"]
    assert row == {
        "variable": "SIGNALING_MAX_SDP_BYTES",
        "value": 7,
        "source": "environment",
        "default": 131072,
        "expects": "a whole number, at least 1",
        "meaning": "largest SDP, in bytes of UTF-8",
    }


@pytest.mark.parametrize("as_json", [True, False])
def test_secrets_are_hidden(capsys, as_json):
    assert print_settings(given(GRPC_AUTH_TOKENS="canary-1,canary-2"), as_json=as_json) == 0
    out = capsys.readouterr().out
    assert "canary" not in out
    assert "(hidden)" in out


def test_as_json(capsys):
    print_settings(given(SIGNALING_ALLOWED_ORIGINS="https://a.example"), as_json=True)
    values = {row["variable"]: row["value"] for row in json.loads(capsys.readouterr().out)}
    assert values["SIGNALING_ALLOWED_ORIGINS"] == ["https://a.example"]
    assert values["GRPC_AUTH_TOKENS"] == []
    assert values["GRPC_REQUIRE_AUTH"] is None
    assert values["SIGNALING_REPLAY_ROSTER"] is True


def test_as_a_table(capsys):
    origins = "https://a.example,https://b.example"
    print_settings(given(SIGNALING_REPLAY_ROSTER="false", SIGNALING_ALLOWED_ORIGINS=origins), as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert "SIGNALING_REPLAY_ROSTER=false  (default true)  # environment" in lines
    assert "SIGNALING_ALLOWED_ORIGINS=https://a.example,https://b.example  (default )  # environment" in lines
    assert "SIGNALING_MAX_SDP_BYTES=131072" in lines
    assert "GRPC_REQUIRE_AUTH=" in lines
    assert [line for line in lines if line.startswith("#")] == [f"# {subject.title}" for subject in subjects()]
    assert max(map(len, lines)) <= 120
