"""Settings of admission: who may connect, by tokens and origins."""

from dataclasses import dataclass
from typing import ClassVar

from sigbridge.settings.declare import SettingError, Subject, switch, texts


@dataclass(frozen=True, kw_only=True)
class Admission(Subject):
    """The tokens that let clients in, who is asked for one, and the origins of web pages."""

    title: ClassVar[str] = "Admission"

    auth_tokens: tuple[str, ...] = texts(
        "GRPC_AUTH_TOKENS", "API tokens, any of which lets a client in", "tokens separated by commas", secret=True
    )
    grpc_require_auth: bool | None = switch(
        None, "GRPC_REQUIRE_AUTH", "whether gRPC asks for a token; not set: as soon as there are tokens"
    )
    ws_require_auth: bool | None = switch(
        None, "WS_REQUIRE_AUTH", "whether WebSocket asks for a token; not set: as gRPC does"
    )
    reflection_requires_auth: bool = switch(
        True, "SIGNALING_REFLECTION_REQUIRE_AUTH", "whether gRPC reflection asks for a token where gRPC does"
    )
    allowed_origins: tuple[str, ...] = texts(
        "SIGNALING_ALLOWED_ORIGINS",
        "origins of web pages that may connect; not set: all",
        "origins such as https://example.org, separated by commas",
    )

    @property
    def grpc_asks_for_token(self) -> bool:
        """True where gRPC clients must show a token."""
        return bool(self.auth_tokens) if self.grpc_require_auth is None else self.grpc_require_auth

    @property
    def websocket_asks_for_token(self) -> bool:
        """True where WebSocket clients must show a token."""
        return self.grpc_asks_for_token if self.ws_require_auth is None else self.ws_require_auth

    def check_together(self) -> None:
        """Raise SettingError where a token is asked for, and there is none."""
        if self.auth_tokens:
            return
        for name in ("grpc_require_auth", "ws_require_auth"):
            if getattr(self, name):
                raise SettingError(
                    f"GRPC_AUTH_TOKENS is empty: {self.infos()[name].env} is true and needs at least one token"
                )
