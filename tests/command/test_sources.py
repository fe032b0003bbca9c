"""Settings from the environment, `--env-file` and `--config`: which counts, what is said of a wrong one, what is reread."""

import dataclasses
import json
import re

import pytest

from clock import NOW
from sigbridge import SettingError, Settings
from sigbridge.settings import setting_infos
from sigbridge_command.config_file import fields_of
from sigbridge_command.errors import UsageError
from sigbridge_command.sources import FileOrigins, Files, Given, origins_of

A, B, C = "https://a.example", "https://b.example", "https://c.example"
ORIGINS = "SIGNALING_ALLOWED_ORIGINS"


@pytest.fixture
def config(tmp_path):
    return tmp_path / "sigbridge.toml"


@pytest.fixture
def env_file(tmp_path):
    return tmp_path / "sigbridge.env"


@pytest.fixture
def files(env_file, config):
    for path in (env_file, config):
        path.write_text("")
    return Files(str(env_file), str(config))


# The file.


def test_every_setting_stands_there_in_toml_s_own_type(config):
    """Each with its default, or with a value of its type where that is empty."""
    samples = {int: 7, float: 7.5, str: "text", tuple: ["https://a.example", "https://b.example"], type(None): False}
    defaults = {field.name: field.default for field in dataclasses.fields(Settings)}
    written = {
        name: default if default or default is False else samples[type(default)] for name, default in defaults.items()
    } | {"trusted_proxies": ["192.0.2.0/24", "unix"], "turn_urls": ["turn:t.example", "turns:t.example"]}
    config.write_text(
        "".join(f"{setting_infos()[name].env} = {json.dumps(value)}\n" for name, value in written.items())
    )
    expected = {name: tuple(value) if isinstance(value, list) else value for name, value in written.items()}
    assert fields_of(str(config)) == expected


def test_a_list_is_taken_as_it_stands(config):
    config.write_text('GRPC_AUTH_TOKENS = ["one", "two, three", "${four}"]\n')
    assert fields_of(str(config)) == {"auth_tokens": ("one", "two, three", "${four}")}


def test_a_whole_number_of_seconds_is_one(config):
    config.write_text("SIGNALING_PING_INTERVAL_SEC = 5\nGRPC_REQUIRE_AUTH = false\n")
    fields = fields_of(str(config))
    assert fields == {"ping_interval_seconds": 5.0, "grpc_require_auth": False}
    assert type(fields["ping_interval_seconds"]) is float


def test_an_empty_text_sets_nothing(config):
    config.write_text('GRPC_BIND_ADDRESS = ""\nSIGNALING_TLS_CERT_FILE = ""\n')
    assert fields_of(str(config)) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('GRPC_AUTH_TOKEN = ["canary"]', "unknown settings: GRPC_AUTH_TOKEN (meant: GRPC_AUTH_TOKENS)"),
        (
            'WS_BIND_ADRESS = "canary"\nwhatever = 1\nGRPC_TRACE = "canary"\n"a\\nb" = 1',
            "unknown settings: WS_BIND_ADRESS (meant: WS_BIND_ADDRESS), whatever, GRPC_TRACE, 'a\\nb'",
        ),
        ("ws_bind_address = 1", "unknown settings: ws_bind_address (meant: WS_BIND_ADDRESS)"),
        ('[GRPC]\nAUTH_TOKENS = ["canary"]', "unknown settings: GRPC"),
        ("[[SIGNALING_MAX_SESSIONS]]", "SIGNALING_MAX_SESSIONS is [{}]: expected a whole number, at least 1"),
        ('SIGNALING_MAX_SESSIONS = "5"', "SIGNALING_MAX_SESSIONS is '5': expected a whole number, at least 1"),
        ("SIGNALING_MAX_SESSIONS = 5.0", "SIGNALING_MAX_SESSIONS is 5.0: expected a whole number, at least 1"),
        ("SIGNALING_MAX_SESSIONS = true", "SIGNALING_MAX_SESSIONS is True: expected a whole number, at least 1"),
        ("SIGNALING_MAX_SESSIONS = 0", "SIGNALING_MAX_SESSIONS is 0: expected a whole number, at least 1"),
        (
            "SIGNALING_PING_INTERVAL_SEC = nan",
            "SIGNALING_PING_INTERVAL_SEC is nan: expected a number of seconds above 0 and below 1e9",
        ),
        (
            "SIGNALING_PING_INTERVAL_SEC = true",
            "SIGNALING_PING_INTERVAL_SEC is True: expected a number of seconds above 0 and below 1e9",
        ),
        (
            f"SIGNALING_PING_INTERVAL_SEC = 1{'0' * 400}",
            f"SIGNALING_PING_INTERVAL_SEC is 1{'0' * 400}: expected a number of seconds above 0 and below 1e9",
        ),
        ("GRPC_REQUIRE_AUTH = 1", "GRPC_REQUIRE_AUTH is 1: expected true or false"),
        ('GRPC_REQUIRE_AUTH = "true"', "GRPC_REQUIRE_AUTH is 'true': expected true or false"),
        ("SIGNALING_TOKENS_FILE = 1", "SIGNALING_TOKENS_FILE is 1: expected a path"),
        ('SIGNALING_TOKENS_FILE = "a\\u0000"', "SIGNALING_TOKENS_FILE is 'a\\x00': expected a path"),
        ('SIGNALING_LOG_LEVEL = "loud"', "SIGNALING_LOG_LEVEL is 'loud': expected debug, info, warning or error"),
        ('GRPC_AUTH_TOKENS = "canary"', "GRPC_AUTH_TOKENS is (hidden): expected tokens as a list of texts"),
        ('GRPC_AUTH_TOKENS = ["canary", 1]', "GRPC_AUTH_TOKENS is (hidden): expected tokens as a list of texts"),
        ('GRPC_AUTH_TOKENS = ["canary", ""]', "GRPC_AUTH_TOKENS is (hidden): expected tokens as a list of texts"),
        ('GRPC_AUTH_TOKENS = ["canary "]', "GRPC_AUTH_TOKENS is (hidden): expected tokens as a list of texts"),
        # Somebody meant to close a door.
        ("GRPC_AUTH_TOKENS = []", "GRPC_AUTH_TOKENS is []: expected tokens as a list of texts"),
        (f'{ORIGINS} = ["{A}/"]', f"{ORIGINS} holds '{A}/': expected {A}"),
        ("x = \n# canary", "expected a TOML file, and line 1 is not TOML"),
        ('GRPC_AUTH_TOKENS = ["canary"]\nGRPC_AUTH_TOKENS = []\n', "expected a TOML file, and line 2 is not TOML"),
        (f"SIGNALING_MAX_SESSIONS = 1{'0' * 5000}", "expected a TOML file"),
        (f"x = {'[' * 100_000}", "expected a TOML file"),
    ],
)
def test_what_is_wrong_is_said_with_the_file_and_no_secret(config, text, said):
    config.write_text(text)
    with pytest.raises(UsageError) as refused:
        fields_of(str(config))
    assert str(refused.value) == f"--config is {str(config)!r}: {said}"
    assert "canary" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("content", "said"), [(None, "No such file or directory"), (b"A = \xff", "in UTF-8")])
def test_what_is_no_such_file_is_named(config, content, said):
    if content is not None:
        config.write_bytes(content)
    with pytest.raises(UsageError, match=rf"^--config is '{re.escape(str(config))}': expected a TOML file.*{said}"):
        fields_of(str(config))


def test_a_configuration_file_without_a_name_is_a_mistake():
    """A variable of a shell that is not set must not start a server without its tokens."""
    with pytest.raises(UsageError, match=r"^--config is '': expected a TOML file"):
        Given(Files(config=""), {})


# What counts.


@pytest.mark.parametrize(
    ("own", "in_env_file", "in_config", "value", "source"),
    [
        ("1", "2", "3", 1, "environment"),
        (None, "2", "3", 2, "env_file"),
        (None, None, "3", 3, "config"),
        (None, None, None, 131072, "default"),
        # An empty variable sets nothing.
        ("", "2", "3", 2, "env_file"),
        ("", "", "3", 3, "config"),
        ("", "", None, 131072, "default"),
        ("1", "", None, 1, "environment"),
    ],
)
def test_the_environment_comes_before_its_file_and_that_before_the_configuration(
    files, env_file, config, own, in_env_file, in_config, value, source
):
    name = "SIGNALING_MAX_SDP_BYTES"
    if in_env_file is not None:
        env_file.write_text(f"{name}={in_env_file}\n")
    if in_config is not None:
        config.write_text(f"{name} = {in_config}\n")
    given = Given(files, {} if own is None else {name: own})
    assert given.settings() == Settings(max_sdp_bytes=value)
    assert given.source("max_sdp_bytes") == {"env_file": str(env_file), "config": str(config)}.get(source, source)


@pytest.mark.parametrize(
    ("environ", "in_config", "level", "source"),
    [
        ({"RUST_LOG": "debug"}, "", "debug", "environment"),
        ({"RUST_LOG": "off"}, "", "info", "default"),
        ({"RUST_LOG": "debug"}, 'SIGNALING_LOG_LEVEL = "error"', "error", "config"),
        ({"SIGNALING_LOG_LEVEL": "debug"}, 'SIGNALING_LOG_LEVEL = "error"', "debug", "environment"),
    ],
)
def test_the_level_of_deployments_of_old_comes_last(files, config, environ, in_config, level, source):
    config.write_text(in_config)
    given = Given(files, environ)
    assert given.settings().log_level == level
    assert given.source("log_level") == {"config": str(config)}.get(source, source)


def test_settings_of_different_sources_are_checked_together(files, env_file, config):
    env_file.write_text("SIGNALING_TLS_KEY_FILE=key.pem\n")
    with pytest.raises(SettingError, match="SIGNALING_TLS_CERT_FILE is empty"):
        Given(files, {}).settings()
    config.write_text('SIGNALING_TLS_CERT_FILE = "cert.pem"\n')
    assert Given(files, {}).settings().tls_cert_file == "cert.pem"


def test_a_misspelt_variable_of_the_file_is_found_too(files, env_file, config):
    env_file.write_text("GRPC_AUTH_TOKEN=canary\n")
    config.write_text("SIGNALING_STRICT_SETTINGS = true\n")
    with pytest.raises(SettingError, match=r"there are unknown settings: GRPC_AUTH_TOKEN \(meant: GRPC_AUTH_TOKENS\)$"):
        Given(files, {}).settings()


def test_without_files_there_is_the_environment_alone():
    given = Given(Files(), {"SIGNALING_MAX_SDP_BYTES": "7", "OTHER": ""})
    assert given.settings() == Settings(max_sdp_bytes=7)
    assert given.environ == {"SIGNALING_MAX_SDP_BYTES": "7", "OTHER": ""}


# What is reread.


@pytest.mark.parametrize(
    ("in_env_file", "in_config", "origins"),
    [
        (f"{ORIGINS}={A}, {B}\n", "", (A, B)),
        (f"{ORIGINS}={A}\n", f'{ORIGINS} = ["{C}"]', (A,)),
        (f"{ORIGINS}=\n", f'{ORIGINS} = ["{C}"]', (C,)),
        ("OTHER=x\n", f"{ORIGINS} = {json.dumps([B, C])}", (B, C)),
        ("OTHER=x\n", "SIGNALING_MAX_SESSIONS = 1", ()),
        # Not all of it is looked at together again: other files are not read.
        ("SIGNALING_TLS_KEY_FILE=key.pem\n", "", ()),
    ],
)
def test_the_origins_are_given_on(files, env_file, config, in_env_file, in_config, origins):
    taken = []
    reloadable = FileOrigins(files, taken.append)
    env_file.write_text(in_env_file)
    config.write_text(in_config)
    reloadable.put(reloadable.read(), NOW)
    assert (taken, reloadable.paths) == ([origins], (str(env_file), str(config)))


@pytest.mark.parametrize(
    ("in_env_file", "in_config", "said"),
    [
        (f"{ORIGINS}=,\n", "", f"{ORIGINS} is ','"),
        (f"{ORIGINS}={A}/\n", "", f"{ORIGINS} holds '{A}/': expected {A}"),
        ("", f'{ORIGINS} = ["{A}/"]', f"{ORIGINS} holds '{A}/': expected {A}"),
        ("", f"{ORIGINS} = []", f"{ORIGINS} is []"),
        ("", "WHATEVER = 1", "unknown settings: WHATEVER"),
    ],
)
def test_what_is_wrong_when_it_is_read_again_is_said(files, env_file, config, in_env_file, in_config, said):
    env_file.write_text(in_env_file)
    config.write_text(in_config)
    with pytest.raises((UsageError, SettingError), match=re.escape(said)):
        FileOrigins(files, print).read()


def test_nothing_is_reread_where_the_environment_says_it():
    files = Files(config="file")
    assert origins_of(files, print, {ORIGINS: A}) is None
    assert origins_of(Files(), print, {}) is None
    assert origins_of(files, print, {}) is not None
    assert origins_of(files, print, {ORIGINS: ""}) is not None
