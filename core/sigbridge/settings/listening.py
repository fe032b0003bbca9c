"""Settings of listening: the addresses, what serves gRPC, and what pages are given."""

from dataclasses import dataclass
from typing import ClassVar

from sigbridge.settings.declare import ADDRESSES, BindAddress, SettingError, Subject, parse_addresses, switch, text

HTTP_OFF = "off"


def _parse_mode(value: str) -> int:
    if not value.isascii() or not value.isdigit() or not 0 < int(value, 8) <= 0o777:
        raise ValueError(value)
    return int(value, 8)


@dataclass(frozen=True, kw_only=True)
class Listening(Subject):
    """The server's addresses, and what serves gRPC on them."""

    title: ClassVar[str] = "Listening"

    grpc_bind_address: str = text(
        "[::]:50051",
        "GRPC_BIND_ADDRESS",
        "addresses of gRPC; [::] or no host: IPv6 and IPv4; 0.0.0.0: IPv4 only; port 0: the system chooses",
        ADDRESSES,
        parse_addresses,
    )
    ws_bind_address: str = text(
        "[::]:8080",
        "WS_BIND_ADDRESS",
        "addresses of WebSocket, likewise",
        ADDRESSES,
        parse_addresses,
    )
    http_bind_address: str = text(
        "127.0.0.1:9090",
        "HTTP_BIND_ADDRESS",
        "addresses of /metrics, /healthz and /readyz, likewise; off: none",
        "addresses such as 127.0.0.1:9090 or unix:/run/sigbridge-http.sock, separated by commas, or off",
        lambda value: value == HTTP_OFF or parse_addresses(value),
    )
    unix_mode: str = text(
        "0660",
        "SIGNALING_UNIX_MODE",
        "file mode of unix sockets, as for chmod; write permission allows connecting",
        "an octal number such as 0660",
        _parse_mode,
    )
    grpc_engine: str = text(
        "native",
        "GRPC_ENGINE",
        "implementation of gRPC: native is sigbridge's own, grpcio is the library",
        "native or grpcio",
        ("native", "grpcio").index,
    )
    serve_client: bool = switch(
        False,
        "SIGNALING_SERVE_CLIENT",
        "the client for web pages is served as /sigbridge.js and /sigbridge-call.js on the ports of gRPC and WebSocket",
    )

    @property
    def grpc_addresses(self) -> tuple[BindAddress, ...]:
        """The addresses of gRPC."""
        return parse_addresses(self.grpc_bind_address)

    @property
    def ws_addresses(self) -> tuple[BindAddress, ...]:
        """The addresses of WebSocket."""
        return parse_addresses(self.ws_bind_address)

    @property
    def http_addresses(self) -> tuple[BindAddress, ...]:
        """The operator's addresses; none where they are off."""
        return () if self.http_bind_address == HTTP_OFF else parse_addresses(self.http_bind_address)

    @property
    def unix_mode_bits(self) -> int:
        """The mode of the files of unix sockets."""
        return _parse_mode(self.unix_mode)

    def check_together(self) -> None:
        """Checks that the engine that is set can serve the addresses of gRPC; the native one serves all.

        :raises SettingError: if grpcio is to share an address with WebSocket, or to have IPv6 alone at a port.
        """
        if self.grpc_engine != "grpcio":
            return
        for address in self.grpc_addresses:
            if address.is_fixed and address in self.ws_addresses:
                raise SettingError(
                    f"WS_BIND_ADDRESS is {self.ws_bind_address!r}, as GRPC_BIND_ADDRESS is: expected another one, or "
                    "GRPC_ENGINE=native, which serves both protocols on one address"
                )
            if address.is_ipv6_alone((*self.ws_addresses, *self.http_addresses)):
                raise SettingError(
                    f"GRPC_BIND_ADDRESS is {self.grpc_bind_address!r}, and another protocol has IPv4 at that port: "
                    "expected another one, or GRPC_ENGINE=native, which can listen on IPv6 alone"
                )
