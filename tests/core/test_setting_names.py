"""Misspelt variables: which are named, with what was meant, and whose variables are not."""

import importlib.util
import re
from pathlib import Path

import pytest

from sigbridge import SettingError, Settings
from sigbridge.settings import setting_infos, unknown_variables
from sigbridge.settings.names import GRPC_FAMILIES, GRPC_VARIABLES

VARIABLES = [info.env for info in setting_infos().values()]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("GRPC_AUTH_TOKEN", "GRPC_AUTH_TOKENS"),
        ("GRPC_AUTH_REQUIRED", "GRPC_REQUIRE_AUTH"),
        ("WS_BIND_ADRESS", "WS_BIND_ADDRESS"),
        ("HTTP_BIND_ADDR", "HTTP_BIND_ADDRESS"),
        ("SIGNALING_LOGLEVEL", "SIGNALING_LOG_LEVEL"),
        ("SIGNALING_", ""),
        ("GRPC_XYZ", ""),
        ("WS_PORT", ""),
        # Other beginnings, and small letters.
        ("SIGNALLING_MAX_SESSIONS", "SIGNALING_MAX_SESSIONS"),
        ("GPRC_AUTH_TOKENS", "GRPC_AUTH_TOKENS"),
        ("RPC_AUTH_TOKENS", "GRPC_AUTH_TOKENS"),
        ("grpc_auth_tokens", "GRPC_AUTH_TOKENS"),
        ("Signaling_Max_Sessions", "SIGNALING_MAX_SESSIONS"),
        # What Kubernetes sets is a URL; this is somebody who wants a port.
        ("GRPC_PORT", ""),
    ],
)
def test_a_misspelt_name_is_told_with_what_was_meant(name, meant):
    found = unknown_variables({name: "8080"})
    assert list(found) == [name]
    assert found[name] == meant or not meant


@pytest.mark.parametrize(
    "name",
    [
        *VARIABLES,
        *sorted(GRPC_VARIABLES),
        *(f"{family}WHATEVER" for family in GRPC_FAMILIES),
        *(
            "HTTP_PROXY",
            "http_proxy",
            "HTTPS_PROXY",
            "NO_PROXY",
            "HTTP_PROXY_USER",
            "GRPC_PROXY",
            "grpc_proxy",
            "ws_proxy",
        ),
        *("SIGBRIDGE_TOKEN", "SIGBRIDGE_FAST_PATHS", "RUST_LOG", "OTEL_LOG_LEVEL", "BIND_ADDRESS", "AUTH_TOKENS"),
        *("PATH", "HOME", "LOG_LEVEL", "MAX_SESSIONS", "PYTHONPATH", "HTTPD_OPTS", "GRPCURL", "WSL_DISTRO_NAME", ""),
    ],
)
def test_what_is_ours_or_somebody_elses_is_not_told(name):
    assert unknown_variables({name: "x"}) == {}


@pytest.mark.parametrize("service", ["GRPC", "SIGNALING_GRPC", "WS_2", "HTTP"])
def test_what_kubernetes_sets_for_a_service_is_not_told(service):
    environ = {
        f"{service}_SERVICE_HOST": "10.0.0.11",
        f"{service}_SERVICE_PORT": "6379",
        f"{service}_SERVICE_PORT_WEB": "6379",
        f"{service}_PORT": "tcp://10.0.0.11:6379",
        f"{service}_PORT_6379_TCP": "tcp://10.0.0.11:6379",
        f"{service}_PORT_6379_TCP_PROTO": "tcp",
        f"{service}_PORT_6379_TCP_PORT": "6379",
        f"{service}_PORT_6379_TCP_ADDR": "10.0.0.11",
        f"{service}_PORT_53_UDP": "udp://10.0.0.11:53",
    }
    assert unknown_variables(environ) == {}


@pytest.mark.thorough
def test_the_list_of_grpcs_variables_is_that_of_the_installed_library():
    """Its variables are those that its binary names by itself and those that its Python reads, and no others."""
    package = Path(importlib.util.find_spec("grpc").origin).parent
    (binary,) = package.glob("_cython/cygrpc*.so")
    named = set(re.findall(rb"(?<![A-Za-z0-9_])GRPC_[A-Z0-9_]+(?![A-Za-z0-9_])", binary.read_bytes()))
    source = b"".join(path.read_bytes() for path in package.rglob("*.py"))
    named |= set(re.findall(rb"\"(GRPC_[A-Z0-9_]+)\"", source))
    known = {name.encode() for name in GRPC_VARIABLES}
    assert known - named == {b"GRPC_ASYNCIO_ENGINE"}
    # Constants of its headers are no variables; what looks like one and is new is to be looked at here.
    constants = (
        rb"GRPC_(STATUS|CALL|ARG|OP|CHANNEL|COMPRESS|CHTTP2|SLICE|QUEUE|ERROR|JSON|INET6|PROPAGATE|ALLOW|PREFERRED)"
    )
    families = tuple(family.encode() for family in GRPC_FAMILIES)
    left = {name for name in named - known if not re.match(constants, name) and not name.startswith(families)}
    assert left <= {b"GRPC_CHANNELZ_CALL_TRACER"}


def test_strict_settings_refuse_all_of_them_in_one_line_without_a_value():
    environ = {"GRPC_AUTH_TOKEN": "canary", "WS_BIND_ADRESS": "canary", "GRPC_X\nY": "canary", "GRPC_TRACE": "x"}
    assert Settings.from_environment(environ) == Settings()
    with pytest.raises(SettingError) as refused:
        Settings.from_environment(environ | {"SIGNALING_STRICT_SETTINGS": "true"})
    assert str(refused.value) == (
        "SIGNALING_STRICT_SETTINGS is true, and there are unknown settings: GRPC_AUTH_TOKEN (meant: GRPC_AUTH_TOKENS), "
        "'GRPC_X\\nY', WS_BIND_ADRESS (meant: WS_BIND_ADDRESS)"
    )
    with pytest.raises(SettingError, match="there are unknown settings"):
        Settings.from_environment(environ, below={"strict_settings": True})
    assert Settings.from_environment({"SIGNALING_STRICT_SETTINGS": "true", "GRPC_TRACE": "x"}).strict_settings
