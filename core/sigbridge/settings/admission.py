"""Settings of admission: the sources of tokens, who is asked for one, and the origins of web pages."""

from dataclasses import dataclass
from typing import ClassVar

from sigbridge.origins import Origins
from sigbridge.patterns import MAX_PATTERNS, SUBJECT, Patterns
from sigbridge.settings.declare import SettingError, Subject, seconds, switch, text, texts


def _check_origins(entries: tuple[str, ...]) -> None:
    try:
        Origins(entries)
    except ValueError as error:
        raise SettingError(f"SIGNALING_ALLOWED_ORIGINS holds {error}") from None


@dataclass(frozen=True, kw_only=True)
class Admission(Subject):
    """The tokens that let clients in, who is asked for one, and the origins of web pages."""

    title: ClassVar[str] = "Admission"

    auth_tokens: tuple[str, ...] = texts(
        "GRPC_AUTH_TOKENS", "API tokens, any of which lets a client in", "tokens separated by commas", secret=True
    )
    tokens_file: str = text(
        "", "SIGNALING_TOKENS_FILE", "tokens with their owners and rights, as docs/security.md describes them", "a path"
    )
    jwt_key_file: str = text("", "SIGNALING_JWT_KEY_FILE", "public keys (PEM) of those who sign JWTs", "a path")
    jwt_jwks_file: str = text("", "SIGNALING_JWT_JWKS_FILE", "the same as a JWK set (RFC 7517)", "a path")
    jwt_hmac_secret_file: str = text(
        "",
        "SIGNALING_JWT_HMAC_SECRET_FILE",
        "secrets by which JWTs are signed, one a line, each of 32 bytes or more; not beside the other two",
        "a path",
    )
    jwt_issuer: tuple[str, ...] = texts(
        "SIGNALING_JWT_ISSUER",
        "issuers of JWTs, of which a token must name one; not set: any",
        "texts separated by commas",
    )
    jwt_audience: tuple[str, ...] = texts(
        "SIGNALING_JWT_AUDIENCE",
        "audiences of JWTs, of which a token must name one; not set: any",
        "texts separated by commas",
    )
    jwt_leeway_seconds: float = seconds(
        30.0, "SIGNALING_JWT_LEEWAY_SEC", "how far the clock of those who sign may be from ours", zero=True
    )
    jwt_peer_ids: tuple[str, ...] = texts(
        "SIGNALING_JWT_PEER_IDS",
        "patterns of the peer ids of a JWT that says none; {sub} stands for its subject",
        f"at most {MAX_PATTERNS} patterns such as {SUBJECT}:*, separated by commas",
        default=(SUBJECT, f"{SUBJECT}:*"),
        check=Patterns,
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
        "origins of web pages that may connect; https://*.example.org: of every host below that one; * or not set: all",
        "origins such as https://example.org, separated by commas, or *",
        check=_check_origins,
    )
    allowed_origins_file: str = text(
        "", "SIGNALING_ALLOWED_ORIGINS_FILE", "the same, one a line, beside those of the variable", "a path"
    )

    @property
    def has_tokens(self) -> bool:
        """True where there is a source of tokens: shared ones, a file of them, or keys of JWTs."""
        return bool(self.auth_tokens or self.tokens_file or self.has_jwt_keys)

    @property
    def has_jwt_keys(self) -> bool:
        """True where there are keys by which JWTs are checked."""
        return bool(self.jwt_key_file or self.jwt_jwks_file or self.jwt_hmac_secret_file)

    @property
    def grpc_asks_for_token(self) -> bool:
        """True where gRPC clients must show a token."""
        return self.has_tokens if self.grpc_require_auth is None else self.grpc_require_auth

    @property
    def websocket_asks_for_token(self) -> bool:
        """True where WebSocket clients must show a token."""
        return self.grpc_asks_for_token if self.ws_require_auth is None else self.ws_require_auth

    def check_together(self) -> None:
        """Raise SettingError where secrets stand beside keys, or keys or tokens are missing that others ask for."""
        if self.jwt_hmac_secret_file and (self.jwt_key_file or self.jwt_jwks_file):
            other = "jwt_key_file" if self.jwt_key_file else "jwt_jwks_file"
            raise SettingError(
                f"SIGNALING_JWT_HMAC_SECRET_FILE and {self.infos()[other].env} are set: expected one of them, so that "
                "a public key is never taken for a secret"
            )
        for name in ("jwt_issuer", "jwt_audience"):
            if getattr(self, name) and not self.has_jwt_keys:
                raise SettingError(
                    f"{self.infos()[name].env} is set, and no JWT can be checked: expected keys too, by "
                    "SIGNALING_JWT_KEY_FILE, SIGNALING_JWT_JWKS_FILE or SIGNALING_JWT_HMAC_SECRET_FILE"
                )
        if self.has_tokens:
            return
        for name in ("grpc_require_auth", "ws_require_auth"):
            if getattr(self, name):
                raise SettingError(
                    f"GRPC_AUTH_TOKENS is empty: {self.infos()[name].env} is true and needs at least one token, "
                    "SIGNALING_TOKENS_FILE, or keys of JWTs"
                )
