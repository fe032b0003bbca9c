"""Every setting: its default, unit, environment variable and meaning, in one place, checked when made.

Source of the defaults: `docs/settings.md` is generated from this file, and says the same.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


class SettingError(ValueError):
    """A setting is wrong; the text names the variable, what it holds and what would be right."""


@dataclass(frozen=True)
class SettingInfo:
    """What is known of a setting besides its value."""

    env: str
    meaning: str
    expects: str
    parse: Callable[[str], Any]
    check: Callable[[Any], bool]
    secret: bool
    """Whether its value is shown to nobody."""

    def shown(self, value: Any) -> str:
        """The value as people may read it."""
        return "(hidden)" if self.secret and value else repr(value)


def _parse_bool(text: str) -> bool:
    word = text.strip().lower()
    if word in ("true", "1", "yes", "on"):
        return True
    if word in ("false", "0", "no", "off"):
        return False
    raise ValueError(text)


def parse_address(text: str) -> tuple[str, int]:
    """Split `HOST:PORT`, `[IPv6]:PORT` or `:PORT` into host and port; ValueError where it is none of these."""
    host, colon, port_text = text.rpartition(":")
    if not colon or not port_text.isascii() or not port_text.isdigit() or int(port_text) > 65535:
        raise ValueError(text)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(text)
    return host or "0.0.0.0", int(port_text)


def _setting(
    default: Any, env: str, meaning: str, expects: str, parse: Any, check: Any, *, secret: bool = False
) -> Any:
    info = SettingInfo(env, meaning, expects, parse, check, secret)
    return dataclasses.field(default=default, metadata={"info": info})


def _whole(default: int, env: str, meaning: str, *, least: int = 1) -> Any:
    return _setting(default, env, meaning, f"a whole number, at least {least}", int, lambda value: value >= least)


def _rate(default: float, env: str, meaning: str) -> Any:
    expects = "a number of requests per second, 0 or more"
    return _setting(default, env, meaning, expects, float, lambda value: 0 <= value < 1e9)


def _seconds(default: float, env: str, meaning: str, *, zero: bool = False) -> Any:
    expects = "a number of seconds, 0 or more" if zero else "a number of seconds above 0"
    return _setting(
        default, env, meaning, expects, float, lambda value: (value >= 0 if zero else value > 0) and value < 1e9
    )


def _switch(default: bool | None, env: str, meaning: str) -> Any:
    return _setting(default, env, meaning, "true or false", _parse_bool, lambda _: True)


def _text(default: str, env: str, meaning: str, expects: str, check: Callable[[str], object] = str) -> Any:
    def holds(value: str) -> bool:
        try:
            check(value)
        except ValueError:
            return False
        return True

    return _setting(default, env, meaning, expects, str, holds)


def _list(env: str, meaning: str, expects: str, *, secret: bool = False) -> Any:
    def parse(text: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in text.split(",") if part.strip())

    return _setting((), env, meaning, expects, parse, lambda _: True, secret=secret)


_ADDRESS = "an address such as 127.0.0.1:50051, [::1]:50051 or :50051"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one server. Making one checks every value; SettingError names the first that is wrong."""

    grpc_bind_address: str = _text(
        "0.0.0.0:50051",
        "GRPC_BIND_ADDRESS",
        "where gRPC listens; port 0 lets the system choose",
        _ADDRESS,
        parse_address,
    )
    ws_bind_address: str = _text(
        "0.0.0.0:8080",
        "WS_BIND_ADDRESS",
        "where WebSocket listens; port 0 lets the system choose",
        _ADDRESS,
        parse_address,
    )
    grpc_engine: str = _text(
        "",
        "GRPC_ENGINE",
        "what serves gRPC: native is a wire of our own, grpcio the library; not set: native",
        "native or grpcio",
        ("", "native", "grpcio").index,
    )
    tls_cert_file: str = _text(
        "", "SIGNALING_TLS_CERT_FILE", "certificate chain (PEM) for both ports; empty: no TLS", "a path"
    )
    tls_key_file: str = _text("", "SIGNALING_TLS_KEY_FILE", "private key (PEM) of the certificate", "a path")
    log_level: str = _text(
        "info",
        "SIGNALING_LOG_LEVEL",
        "the least important lines that are logged",
        "debug, info, warning or error",
        lambda word: ("debug", "info", "warning", "error").index(word.lower()),
    )
    replay_roster: bool = _switch(
        True,
        "SIGNALING_REPLAY_ROSTER",
        "whether a newcomer gets one peer_joined for each peer that is there already",
    )
    websocket_compression: bool = _switch(
        False,
        "SIGNALING_WS_COMPRESSION",
        "whether permessage-deflate is accepted; it costs about 40 kB a connection and doubles the CPU per message",
    )
    http_bind_address: str = _text(
        "127.0.0.1:9090",
        "HTTP_BIND_ADDRESS",
        "where /metrics, /healthz and /readyz are served; off: nowhere",
        "an address such as 127.0.0.1:9090, or off",
        lambda text: text == "off" or parse_address(text),
    )
    auth_tokens: tuple[str, ...] = _list(
        "GRPC_AUTH_TOKENS", "API tokens, any of which lets a client in", "tokens separated by commas", secret=True
    )
    grpc_require_auth: bool | None = _switch(
        None, "GRPC_REQUIRE_AUTH", "whether gRPC asks for a token; not set: as soon as there are tokens"
    )
    ws_require_auth: bool | None = _switch(
        None, "WS_REQUIRE_AUTH", "whether WebSocket asks for a token; not set: as gRPC does"
    )
    reflection_requires_auth: bool = _switch(
        True, "SIGNALING_REFLECTION_REQUIRE_AUTH", "whether gRPC reflection asks for a token where gRPC does"
    )
    allowed_origins: tuple[str, ...] = _list(
        "SIGNALING_ALLOWED_ORIGINS",
        "origins of web pages that may connect; not set: all",
        "origins such as https://example.org, separated by commas",
    )
    tls_client_ca_file: str = _text(
        "",
        "SIGNALING_TLS_CLIENT_CA_FILE",
        "authority (PEM) that must have signed every client's certificate (mutual TLS); empty: none is asked for",
        "a path",
    )
    json_logging: bool = _switch(False, "GRPC_JSON_LOGGING", "whether the log is one JSON object a line")
    tracing: bool = _switch(
        False, "SIGNALING_TRACING", "whether requests are traced by OpenTelemetry; needs sigbridge[tracing]"
    )
    max_memory_mb: int = _whole(
        0,
        "GRPC_MAX_MEMORY_MB",
        "resident memory in MiB above which no sessions are let in and health is degraded, until it is 10 % below; "
        "0: no limit",
        least=0,
    )
    max_timeout_seconds: float = _seconds(10.0, "GRPC_MAX_TIMEOUT_SEC", "how long a unary gRPC call may take")
    rate_per_second: float = _rate(
        1000.0,
        "SIGNALING_RATE_PER_SEC",
        "requests of one kind per second from one identity, or from one address where there is none; 0: no limit",
    )
    rate_burst: int = _whole(
        10000, "SIGNALING_RATE_BURST", "requests of one kind that may come at once, above that rate"
    )
    max_sdp_bytes: int = _whole(131072, "SIGNALING_MAX_SDP_BYTES", "largest SDP, in bytes of UTF-8")
    max_candidate_bytes: int = _whole(4096, "SIGNALING_MAX_CANDIDATE_BYTES", "largest ICE candidate, in bytes of UTF-8")
    max_metadata_bytes: int = _whole(
        16384, "SIGNALING_MAX_METADATA_BYTES", "largest metadata, in bytes of compact JSON"
    )
    max_capabilities_bytes: int = _whole(
        16384, "SIGNALING_MAX_CAPABILITIES_BYTES", "largest capabilities, in bytes of compact JSON"
    )
    max_message_bytes: int = _whole(
        1048576, "SIGNALING_MAX_MESSAGE_BYTES", "largest message of a client; a larger one ends its connection"
    )
    max_batch_requests: int = _whole(
        1000, "SIGNALING_MAX_BATCH_REQUESTS", "requests in one JSON-RPC batch; a longer one is refused as a whole"
    )
    max_sessions: int = _whole(20000, "SIGNALING_MAX_SESSIONS", "open sessions at once, both protocols together")
    max_connections: int = _whole(
        0,
        "SIGNALING_MAX_CONNECTIONS",
        "open connections at once, with a session or without; a further one is closed as soon as it is accepted; "
        "0: 1000 and twice SIGNALING_MAX_SESSIONS",
        least=0,
    )
    max_room_peers: int = _whole(4096, "SIGNALING_MAX_ROOM_PEERS", "peers in one room")
    max_page_peers: int = _whole(1000, "SIGNALING_MAX_PAGE_PEERS", "peers on one page of a listing")
    max_page_bytes: int = _whole(
        524288, "SIGNALING_MAX_PAGE_BYTES", "a page of a listing ends where it grows beyond about so many bytes"
    )
    outbox_max_messages: int = _whole(
        4096, "SIGNALING_OUTBOX_MAX_MESSAGES", "messages that may wait for one session before relays to it are refused"
    )
    outbox_max_bytes: int = _whole(
        2097152, "SIGNALING_OUTBOX_MAX_BYTES", "bytes that may wait for one session before relays to it are refused"
    )
    send_deadline_seconds: float = _seconds(
        10.0, "SIGNALING_SEND_DEADLINE_SEC", "how long a message may wait in an outbox before its session is ended"
    )
    announce_timeout_seconds: float = _seconds(
        30.0, "SIGNALING_ANNOUNCE_TIMEOUT_SEC", "how long a session may stay without announcing itself"
    )
    handshake_timeout_seconds: float = _seconds(
        10.0, "SIGNALING_HANDSHAKE_TIMEOUT_SEC", "how long a TLS and WebSocket handshake may take, each"
    )
    ping_interval_seconds: float = _seconds(
        20.0, "SIGNALING_PING_INTERVAL_SEC", "silence of a client after which it is pinged"
    )
    ping_timeout_seconds: float = _seconds(
        20.0, "SIGNALING_PING_TIMEOUT_SEC", "how long a pinged client may stay silent before it counts as gone"
    )
    close_timeout_seconds: float = _seconds(
        5.0, "SIGNALING_CLOSE_TIMEOUT_SEC", "how long a client may take to finish the closing handshake"
    )
    shutdown_grace_seconds: float = _seconds(
        5.0, "SIGNALING_SHUTDOWN_GRACE_SEC", "how long a shutdown may take, stalled clients included"
    )
    pending_offer_seconds: float = _seconds(
        60.0, "SIGNALING_PENDING_OFFER_SEC", "how long an offer counts as pending without an answer"
    )
    grpc_max_connection_age_seconds: float = _seconds(
        86400.0,
        "GRPC_MAX_CONNECTION_AGE_SEC",
        "age at which a gRPC connection is closed, and its client expected back; frees what a client that never reads "
        "holds; 0: never",
        zero=True,
    )
    grpc_max_connection_idle_seconds: float = _seconds(
        300.0,
        "GRPC_MAX_CONNECTION_IDLE_SEC",
        "how long a gRPC connection without a call is kept; its client connects again when it has one; 0: for ever",
        zero=True,
    )

    def __post_init__(self) -> None:
        for name, info in setting_infos().items():
            value = getattr(self, name)
            if not info.check(value):
                raise SettingError(f"{info.env} is {info.shown(value)}: expected {info.expects}")
        if bool(self.tls_cert_file) != bool(self.tls_key_file):
            missing = "tls_key_file" if self.tls_cert_file else "tls_cert_file"
            raise SettingError(f"{setting_infos()[missing].env} is empty: TLS needs a certificate and its key")
        if self.tls_client_ca_file and not self.tls_cert_file:
            raise SettingError("SIGNALING_TLS_CERT_FILE is empty: mutual TLS needs the server's certificate too")
        if not self.auth_tokens:
            for name in ("grpc_require_auth", "ws_require_auth"):
                if getattr(self, name):
                    raise SettingError(
                        f"GRPC_AUTH_TOKENS is empty: {setting_infos()[name].env} is true and needs at least one token"
                    )

        if self.grpc_engine_name == "grpcio" and self.one_address:
            raise SettingError(
                f"WS_BIND_ADDRESS is {self.ws_bind_address!r}, as GRPC_BIND_ADDRESS is: expected another one, or "
                "GRPC_ENGINE=native, which serves both protocols on one address"
            )

    @property
    def grpc_engine_name(self) -> str:
        """What serves gRPC here: `native` or `grpcio`."""
        return self.grpc_engine or "native"

    @property
    def connection_limit(self) -> int:
        """How many connections there may be at once."""
        return self.max_connections or 1000 + 2 * self.max_sessions

    @property
    def one_address(self) -> bool:
        """Whether both protocols are to be served on one address."""
        grpc, websocket = parse_address(self.grpc_bind_address), parse_address(self.ws_bind_address)
        return grpc == websocket and grpc[1] != 0

    @property
    def grpc_asks_for_token(self) -> bool:
        """Whether gRPC clients must show a token."""
        return bool(self.auth_tokens) if self.grpc_require_auth is None else self.grpc_require_auth

    @property
    def websocket_asks_for_token(self) -> bool:
        """Whether WebSocket clients must show a token."""
        return self.grpc_asks_for_token if self.ws_require_auth is None else self.ws_require_auth

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read every setting from its variable, where that is set and not empty; SettingError where one is wrong."""
        values: dict[str, Any] = {}
        for name, info in setting_infos().items():
            text = environ.get(info.env, "")
            if not text and name == "log_level":
                text = _level_of_rust_log(environ.get("RUST_LOG", ""))
            if not text:
                continue
            try:
                values[name] = info.parse(text)
            except ValueError:
                raise SettingError(f"{info.env} is {info.shown(text)}: expected {info.expects}") from None
        settings = cls(**values)
        for name, value in values.items():
            if value == ():
                # Somebody meant to close a door: commas alone must not leave it open.
                info = setting_infos()[name]
                raise SettingError(f"{info.env} is {info.shown(environ[info.env])}: expected {info.expects}")
        return settings


def _level_of_rust_log(text: str) -> str:
    """The level that `RUST_LOG` names, where it names one and nothing more; deployments of old may have it set."""
    word = {"warn": "warning", "trace": "debug"}.get(text.strip().lower(), text.strip().lower())
    return word if word in ("debug", "info", "warning", "error") else ""


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Variables that are named like ours and are none of ours: misspelt, most likely."""
    known = {info.env for info in setting_infos().values()}
    return sorted(name for name in environ if name.startswith("SIGNALING_") and name not in known)


def setting_infos() -> dict[str, SettingInfo]:
    """What is known of each setting, by field name, in the order of the documentation."""
    return {field.name: field.metadata["info"] for field in dataclasses.fields(Settings)}
