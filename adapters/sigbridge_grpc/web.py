"""gRPC-Web: unary calls of browsers over any version of HTTP, as pure questions and responses.

Rule 1: only methods of one question and one response; sessions of browsers are WebSocket's. Rule 2: both forms of the
protocol, binary and base64 text. Rule 3: a page of another origin is let in as `AllowedOrigins` says; where none is
set, any page may ask, with a token of its own. Rule 4: where a token must be looked up, the response comes later.
Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md; https://fetch.spec.whatwg.org (CORS).
"""

import base64
import binascii
import logging
import struct
from collections.abc import Mapping

from sigbridge.auth import ALLOW_ALL, ANYBODY, Authenticator, Credentials, Identity
from sigbridge.errors import (
    Code,
    SignalingError,
    internal_error,
    malformed_request,
    method_not_found,
    server_draining,
)
from sigbridge.instant import Instant
from sigbridge.pending import Pending
from sigbridge.refused import note_refusal, note_refused
from sigbridge.session import Caller
from sigbridge.settings import Settings
from sigbridge_grpc.access import HEALTH_SERVICE_NAME, open_prefixes
from sigbridge_grpc.framing import Deframer, MessageTooBig, framed, percent_encoded
from sigbridge_grpc.health import HealthBoard
from sigbridge_grpc.method import Responder
from sigbridge_grpc.service import SERVICE_NAME, SignalingService
from sigbridge_grpc.status import Trailers, trailers_of_refusal
from sigbridge_net.credentials import bearer_token, utf8_of_latin1
from sigbridge_net.origins import AllowedOrigins
from sigbridge_net.pages import HttpRequest, Page, TooSoon
from sigbridge_net.wire import Client

logger = logging.getLogger("sigbridge.grpc")

CONTENT_TYPE = "application/grpc-web"
TEXT_CONTENT_TYPE = "application/grpc-web-text"
_TRAILERS_FLAG = 0x80
_PREFLIGHT_SECONDS = "7200"


class GrpcWeb:
    """A `sigbridge_net.pages.HttpService` of the unary methods of a signaling server."""

    def __init__(
        self,
        service: SignalingService,
        board: HealthBoard,
        settings: Settings,
        *,
        authenticator: Authenticator = ALLOW_ALL,
        origins: AllowedOrigins | None = None,
    ) -> None:
        """Serves to pages of these origins; those of the settings, where they are not given."""
        self._methods: dict[str, Responder] = {
            f"/{SERVICE_NAME}/GetPeers": service.get_peers,
            f"/{SERVICE_NAME}/HealthCheck": service.health_check,
            f"/{HEALTH_SERVICE_NAME}/Check": board.check,
        }
        self._hub = service.hub
        self._counters = service.hub.counters
        self._origins = AllowedOrigins(settings) if origins is None else origins
        self._max_bytes = settings.max_message_bytes
        self.paths = frozenset(self._methods)
        """The paths of the methods."""
        self.max_body_bytes = 2 * settings.max_message_bytes
        """Largest body of a request: base64 makes a message a third larger."""
        self._authenticator = authenticator
        self._open = open_prefixes(reflection_requires_token=settings.reflection_requires_auth)

    def respond(self, request: HttpRequest, now: Instant) -> Page | Pending[Page]:
        """Responds to a call, or to a browser's CORS preflight."""
        if request.method == "OPTIONS":
            return self._preflight(request.headers, request.client)
        if request.method != "POST":
            return Page(405, b"method not allowed\n", headers=[("allow", "POST, OPTIONS")])
        return self._call(request, now)

    def _preflight(self, headers: Mapping[str, str], client: Client) -> Page:
        """Returns the response to a CORS preflight, a refusal if the page's origin may not connect."""
        allowed = self._cors_headers(headers)
        if not allowed:
            return self._refuse_foreign_origin(headers, client)
        return Page(
            200,
            b"",
            headers=[
                *allowed,
                ("access-control-allow-methods", "POST"),
                (
                    "access-control-allow-headers",
                    "authorization, content-type, x-grpc-web, x-user-agent, grpc-timeout, traceparent",
                ),
                ("access-control-max-age", _PREFLIGHT_SECONDS),
            ],
        )

    def _call(self, request: HttpRequest, now: Instant) -> Page | Pending[Page]:
        """Responds to one call; whatever happens to it is in its trailers, as gRPC has it.

        Returns a `Pending` of the response if the client's identity must be looked up first.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        base, _, subtype = kind.partition("+")
        if base not in (CONTENT_TYPE, TEXT_CONTENT_TYPE) or subtype not in ("", "proto"):
            return Page(415, b"")
        cors = self._cors_headers(request.headers)
        if "origin" in request.headers and not cors:
            return self._refuse_foreign_origin(request.headers, request.client)
        is_text = base == TEXT_CONTENT_TYPE

        def respond(outcome: Identity | SignalingError, then: Instant) -> Page:
            message, too_soon = self._message_for(outcome, request, then, is_text=is_text)
            body = base64.b64encode(message) if is_text else message
            return Page(200, body, content_type=kind, headers=cors, too_soon=too_soon)

        try:
            identity = self._identify(request, now)
        except SignalingError as error:
            return respond(error, now)
        return identity.followed_by(respond) if isinstance(identity, Pending) else respond(identity, now)

    def _identify(self, request: HttpRequest, now: Instant) -> Identity | Pending[Identity]:
        """Returns the identity of a request's client, or a `Pending` of it.

        :raises SignalingError: if its credentials are refused.
        """
        if request.path.startswith(self._open):
            return ANYBODY
        headers, client = request.headers, request.client
        authorization = [utf8_of_latin1(headers["authorization"])] if "authorization" in headers else []
        credentials = Credentials(bearer_token(authorization, bare=True), client.certificate, client.address)
        return self._authenticator.authenticate(credentials, now)

    def _message_for(
        self, identity: Identity | SignalingError, request: HttpRequest, now: Instant, *, is_text: bool
    ) -> tuple[bytes, TooSoon | None]:
        """Returns the body of the response to an identity or a refusal, and what the connection counts as too soon."""
        too_soon = None
        try:
            if isinstance(identity, SignalingError):
                raise identity
            method, question = self._method_of(request, is_text=is_text)
            return framed(method(question, self._caller(identity, request.client), now)) + _trailers(0, ""), None
        except SignalingError as error:
            refusal = error.bare()
            if not isinstance(identity, SignalingError):
                too_soon = self._too_soon_to_count(refusal, identity, request)
        except Exception:
            # Later, nobody but us is there to hear of it.
            logger.exception("a call of gRPC-Web failed")
            refusal = internal_error()
        return _trailers(int(refusal.code), refusal.message, trailers_of_refusal(refusal)), too_soon

    def _method_of(self, request: HttpRequest, *, is_text: bool) -> tuple[Responder, bytes]:
        """Returns the method that is called, and its message.

        :raises SignalingError: if there is no such method, or not one message.
        """
        method, body = self._methods.get(request.path), request.body
        if method is None:
            raise method_not_found(request.path)
        if is_text:
            try:
                body = base64.b64decode(body, validate=True)
            except (binascii.Error, ValueError):
                raise malformed_request() from None
        deframer = Deframer(self._max_bytes)
        deframer.feed(body)
        try:
            question = deframer.next_message()
        except MessageTooBig:
            raise SignalingError(Code.RESOURCE_EXHAUSTED, "The message is larger than allowed") from None
        if question is None or deframer.unfinished:
            raise SignalingError(Code.UNIMPLEMENTED, "A unary call has one message")
        return method, question

    def _caller(self, identity: Identity, client: Client) -> Caller:
        return Caller(identity, client.address, authenticator=self._authenticator, certificate=client.certificate)

    def _too_soon_to_count(self, error: SignalingError, identity: Identity, request: HttpRequest) -> TooSoon | None:
        """Returns what the connection is to count of a question that was refused, if anything."""
        if error.retry_after_ms is None:
            return None
        address = request.client.address
        return TooSoon(request.path, error.retry_after_ms, lambda now: self._hub.hold_off(identity, address, now))

    def turned_away(self, client: Client) -> None:
        """Counts a client whose response was still looked up when the server shut down."""
        note_refusal(self._counters, "grpc", server_draining(), client.address)

    def _refuse_foreign_origin(self, headers: Mapping[str, str], client: Client) -> Page:
        """Refuses a page of another origin; a cache must not give that response to the next page."""
        note_refused(self._counters, "grpc", "origin", client.address, headers.get("origin", ""))
        return Page(403, b"", headers=[("vary", "origin")])

    def _cors_headers(self, headers: Mapping[str, str]) -> list[tuple[str, str]]:
        """Returns the headers that let a page of this origin read the response; none if it may not."""
        origin = headers.get("origin")
        if origin is None or not self._origins.allow(origin):
            return []
        return [
            ("access-control-allow-origin", "*" if self._origins.every else origin),
            ("access-control-expose-headers", "grpc-status, grpc-message"),
            ("vary", "origin"),
        ]


def _trailers(code: int, message: str, more: Trailers = ()) -> bytes:
    """Returns the frame of gRPC-Web that carries trailers."""
    text = b"grpc-status: %d\r\n" % code
    if message:
        text += b"grpc-message: " + percent_encoded(message) + b"\r\n"
    for name, value in more:
        text += f"{name}: {value}\r\n".encode()
    return struct.pack("!BI", _TRAILERS_FLAG, len(text)) + text
