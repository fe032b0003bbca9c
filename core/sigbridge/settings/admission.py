"""Settings of admission: the sources of tokens, who is asked for one, and the origins of web pages."""

from dataclasses import dataclass
from typing import ClassVar

from sigbridge.origins import Origins
from sigbridge.patterns import MAX_PATTERNS, SUBJECT, Patterns
from sigbridge.settings.declare import SettingError, Subject, seconds, switch, text, texts


def _check_origins(entries: tuple[str, ...]) -> None:
    """Checks that entries are origins.

    :raises SettingError: naming the one that is none.
    """
    try:
        Origins(entries)
    except ValueError as error:
        raise SettingError(f"SIGNALING_ALLOWED_ORIGINS holds {error}") from None


@dataclass(frozen=True, kw_only=True)
class Admission(Subject):
    """The tokens that let clients in, who is asked for one, and the origins of web pages."""

    title: ClassVar[str] = "Admission"

    auth_tokens: tuple[str, ...] = texts(
        "GRPC_AUTH_TOKENS", "API tokens; a client needs any one of them", "tokens separated by commas", secret=True
    )
    tokens_file: str = text(
        "", "SIGNALING_TOKENS_FILE", "tokens with their owners and rights; see docs/security.md", "a path"
    )
    jwt_key_file: str = text("", "SIGNALING_JWT_KEY_FILE", "public keys (PEM) that verify JWTs", "a path")
    jwt_jwks_file: str = text("", "SIGNALING_JWT_JWKS_FILE", "the same as a JWK set (RFC 7517)", "a path")
    jwt_hmac_secret_file: str = text(
        "",
        "SIGNALING_JWT_HMAC_SECRET_FILE",
        "HMAC secrets that verify JWTs, one a line, each of 32 bytes or more; not together with public keys",
        "a path",
    )
    jwt_issuer: tuple[str, ...] = texts(
        "SIGNALING_JWT_ISSUER",
        "accepted issuers (iss) of JWTs; not set: any",
        "texts separated by commas",
    )
    jwt_audience: tuple[str, ...] = texts(
        "SIGNALING_JWT_AUDIENCE",
        "accepted audiences (aud) of JWTs; not set: any",
        "texts separated by commas",
    )
    jwt_leeway_seconds: float = seconds(
        30.0, "SIGNALING_JWT_LEEWAY_SEC", "tolerated clock difference between a JWT's issuer and the server", zero=True
    )
    jwt_peer_ids: tuple[str, ...] = texts(
        "SIGNALING_JWT_PEER_IDS",
        "patterns of the peer ids that a JWT without such patterns allows; {sub} is its subject",
        f"at most {MAX_PATTERNS} patterns such as {SUBJECT}:*, separated by commas",
        default=(SUBJECT, f"{SUBJECT}:*"),
        check=Patterns,
    )
    grpc_require_auth: bool | None = switch(
        None, "GRPC_REQUIRE_AUTH", "gRPC requires a token; not set: it does where a source of tokens is set"
    )
    ws_require_auth: bool | None = switch(
        None, "WS_REQUIRE_AUTH", "WebSocket requires a token; not set: as GRPC_REQUIRE_AUTH"
    )
    reflection_requires_auth: bool = switch(
        True, "SIGNALING_REFLECTION_REQUIRE_AUTH", "gRPC reflection requires a token where gRPC does"
    )
    allowed_origins: tuple[str, ...] = texts(
        "SIGNALING_ALLOWED_ORIGINS",
        "origins of web pages that may connect; https://*.example.org allows every subdomain; * or not set: any origin",
        "origins such as https://example.org, separated by commas, or *",
        check=_check_origins,
    )
    allowed_origins_file: str = text("", "SIGNALING_ALLOWED_ORIGINS_FILE", "further origins, one a line", "a path")

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
        """Checks that no secrets stand beside keys, and that keys and tokens are there that other settings need.

        :raises SettingError: if that is not so.
        """
        if self.jwt_hmac_secret_file and (self.jwt_key_file or self.jwt_jwks_file):
            other = "jwt_key_file" if self.jwt_key_file else "jwt_jwks_file"
            raise SettingError(
                f"SIGNALING_JWT_HMAC_SECRET_FILE and {self.infos()[other].env} are set: expected one of them, so that "
                "a public key is never taken for a secret"
            )
        for name in ("jwt_issuer", "jwt_audience"):
            if getattr(self, name) and not self.has_jwt_keys:
                raise SettingError(
                    f"{self.infos()[name].env} is set without keys of JWTs: expected one of "
                    "SIGNALING_JWT_KEY_FILE, SIGNALING_JWT_JWKS_FILE or SIGNALING_JWT_HMAC_SECRET_FILE too"
                )
        if self.has_tokens:
            return
        for name in ("grpc_require_auth", "ws_require_auth"):
            if getattr(self, name):
                raise SettingError(
                    f"GRPC_AUTH_TOKENS is empty: {self.infos()[name].env} is true and needs at least one token, "
                    "SIGNALING_TOKENS_FILE, or keys of JWTs"
                )
