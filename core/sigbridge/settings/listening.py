"""Settings of listening: the addresses, and the engine that serves gRPC."""

from dataclasses import dataclass
from typing import ClassVar

from sigbridge.settings.declare import ADDRESS, SettingError, Subject, parse_address, text


@dataclass(frozen=True, kw_only=True)
class Listening(Subject):
    """The server's addresses, and what serves gRPC on them."""

    title: ClassVar[str] = "Listening"

    grpc_bind_address: str = text(
        "0.0.0.0:50051",
        "GRPC_BIND_ADDRESS",
        "where gRPC listens; port 0 lets the system choose",
        ADDRESS,
        parse_address,
    )
    ws_bind_address: str = text(
        "0.0.0.0:8080",
        "WS_BIND_ADDRESS",
        "where WebSocket listens; port 0 lets the system choose",
        ADDRESS,
        parse_address,
    )
    http_bind_address: str = text(
        "127.0.0.1:9090",
        "HTTP_BIND_ADDRESS",
        "where /metrics, /healthz and /readyz are served; off: nowhere",
        "an address such as 127.0.0.1:9090, or off",
        lambda value: value == "off" or parse_address(value),
    )
    grpc_engine: str = text(
        "native",
        "GRPC_ENGINE",
        "what serves gRPC: native is a wire of our own, grpcio the library",
        "native or grpcio",
        ("native", "grpcio").index,
    )

    @property
    def one_address(self) -> bool:
        """True where both protocols are to be served on one address."""
        grpc, websocket = parse_address(self.grpc_bind_address), parse_address(self.ws_bind_address)
        return grpc == websocket and grpc[1] != 0

    def check_together(self) -> None:
        """Raise SettingError where the engine that is set cannot serve these addresses."""
        if self.grpc_engine == "grpcio" and self.one_address:
            raise SettingError(
                f"WS_BIND_ADDRESS is {self.ws_bind_address!r}, as GRPC_BIND_ADDRESS is: expected another one, or "
                "GRPC_ENGINE=native, which serves both protocols on one address"
            )
