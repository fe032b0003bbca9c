"""The door to calls, who may begin which: the headers of a request, its token, its method, and its time.

Rule 1: a request that is no gRPC is a page's, or refused in HTTP; all others end with a status, whatever is wrong
with them.
Rule 2: whatever is asked for, its token is looked at first, so nobody learns which methods there are.
Source: gRPC over HTTP/2, section "Requests"; `docs/security.md`.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from sigbridge.auth import ALLOW_ALL, ANYBODY, Authenticator, Credentials, Identity
from sigbridge.counters import Counters
from sigbridge.errors import Code, SignalingError, method_not_found
from sigbridge.instant import Instant
from sigbridge.pending import Pending
from sigbridge.refused import note_refusal
from sigbridge.session import Caller
from sigbridge.settings import Settings
from sigbridge_grpc.access import open_prefixes
from sigbridge_grpc.backlog import TotalBacklog
from sigbridge_grpc.framing import timeout_seconds
from sigbridge_grpc.method import MethodFactory
from sigbridge_http2.events import Header
from sigbridge_net.credentials import bearer_token
from sigbridge_net.forwarding import forwarding_of
from sigbridge_net.pages import Site
from sigbridge_net.unfinished import TotalUnfinished
from sigbridge_net.wire import Client

PROTOCOL: Final = "grpc"
MAX_HEADER_BYTES: Final = 16384
"""Metadata of a call above this is refused; what clients are told."""
HEADER_OVERHEAD_BYTES: Final = 32
"""The weight of each header besides its name and value (RFC 9113, section 10.5.1)."""

METHOD_NOT_ALLOWED: Final[tuple[Header, ...]] = ((b":status", b"405"), (b"content-length", b"0"), (b"allow", b"POST"))
UNSUPPORTED_MEDIA_TYPE: Final[tuple[Header, ...]] = ((b":status", b"415"), (b"content-length", b"0"))


class RequestHead:
    """The headers of a request."""

    __slots__ = ("_authorization", "_fields", "_size", "client")

    def __init__(self, headers: Iterable[Header], client: Client) -> None:
        self.client = client
        """The client that has sent it, which need not be that of the connection: see `Door.forwarding`."""
        self._fields: dict[bytes, bytes] = {}
        self._authorization: list[str] = []
        self._size = 0
        for name, value in headers:
            self._size += len(name) + len(value) + HEADER_OVERHEAD_BYTES
            if name == b"authorization":
                self._authorization.append(value.decode("utf-8", "surrogateescape"))
            self._fields[name] = value

    def refusal_of_http(self) -> tuple[Header, ...] | None:
        """Returns the response to a request that is no gRPC, or None where it is."""
        if self._fields.get(b":method") != b"POST":
            return METHOD_NOT_ALLOWED
        if not _is_grpc(self._fields.get(b"content-type", b"")):
            return UNSUPPORTED_MEDIA_TYPE
        return None

    @property
    def is_too_large(self) -> bool:
        """True where there is more than clients are told that there may be."""
        return self._size > MAX_HEADER_BYTES

    def text(self, name: bytes) -> str:
        """Returns a header as text, empty where it is missing."""
        return self._fields.get(name, b"").decode("latin-1")

    def check(self) -> None:
        """Checks the number of headers and `te: trailers`, which some proxies lose.

        :raises SignalingError: if either is wrong.
        """
        if self.is_too_large:
            raise SignalingError(
                Code.RESOURCE_EXHAUSTED, f"Metadata is larger than {MAX_HEADER_BYTES} bytes: {self._size} bytes"
            )
        if self._fields.get(b"te") != b"trailers":
            raise SignalingError(Code.INTERNAL, "A gRPC request says te: trailers; a proxy may have lost it")

    def token(self) -> str | None:
        """Returns the token of the call, or None."""
        return bearer_token(self._authorization, bare=True)

    def is_gzip(self) -> bool:
        """Returns whether the messages of the call may be compressed.

        :raises SignalingError: UNIMPLEMENTED if they have another encoding than gzip.
        """
        encoding = self._fields.get(b"grpc-encoding", b"identity")
        if encoding not in (b"identity", b"gzip"):
            raise SignalingError(Code.UNIMPLEMENTED, f"Unknown grpc-encoding {encoding[:32].decode('latin-1')}")
        return encoding == b"gzip"

    def timeout_seconds(self) -> float | None:
        """Returns the time limit of the call, or None.

        :raises SignalingError: INTERNAL if its grpc-timeout is malformed.
        """
        timeout = self._fields.get(b"grpc-timeout")
        seconds = None if timeout is None else timeout_seconds(timeout)
        if timeout is not None and seconds is None:
            raise SignalingError(Code.INTERNAL, "grpc-timeout is no time")
        return seconds


class Admission:
    """The wishes of a request that may begin a call."""

    __slots__ = ("caller", "gzip", "make", "timeout_seconds")

    def __init__(self, make: MethodFactory, caller: Caller, head: RequestHead) -> None:
        self.make = make
        self.caller = caller
        self.gzip = head.is_gzip()
        self.timeout_seconds = head.timeout_seconds()


class Door:
    """The methods of a listener, and whom it lets in; one for all of its connections."""

    __slots__ = (
        "_authenticator",
        "_counters",
        "_methods",
        "_open_prefixes",
        "backlog",
        "forwarding",
        "settings",
        "site",
        "unfinished",
    )

    def __init__(
        self,
        methods: Mapping[str, MethodFactory],
        settings: Settings,
        authenticator: Authenticator = ALLOW_ALL,
        unfinished: TotalUnfinished | None = None,
        site: Site | None = None,
        counters: Counters | None = None,
    ) -> None:
        self.settings = settings
        self.site = site
        """The responses to requests that are no gRPC; None where there are none but refusals."""
        self._counters = Counters() if counters is None else counters
        self.forwarding = forwarding_of(settings)
        """The clients of requests that proxies pass on."""
        self.backlog = TotalBacklog(settings)
        """The responses without a session that wait to be written, on all connections."""
        self.unfinished = TotalUnfinished(settings) if unfinished is None else unfinished
        """The messages that are not whole yet, on all connections."""
        self._methods = methods
        self._authenticator = authenticator
        self._open_prefixes = open_prefixes(reflection_requires_token=settings.reflection_requires_auth)

    def site_of(self, head: RequestHead) -> Site | None:
        """Returns the site that serves a request which is no gRPC; None if it is one for a method alone."""
        site, path = self.site, head.text(b":path")
        return None if site is None or (path in self._methods and path not in site.paths) else site

    def identify(self, head: RequestHead, now: Instant) -> Identity | Pending[Identity]:
        """Returns the identity of a request's client, or a `Pending` of it.

        :raises SignalingError: if its headers or its credentials are refused.
        """
        head.check()
        if head.text(b":path").startswith(self._open_prefixes):
            return ANYBODY
        client = head.client
        credentials = Credentials(head.token(), client.certificate, client.address)
        return self._authenticator.authenticate(credentials, now)

    def note_refusal(self, error: SignalingError, client: Client) -> None:
        """Counts a client that is not let in, whoever it is."""
        note_refusal(self._counters, PROTOCOL, error, client.address)

    def admit(self, identity: Identity, head: RequestHead) -> Admission:
        """Returns the method, caller and options of a request.

        :raises SignalingError: if there is no such method, or its headers are malformed.
        """
        path = head.text(b":path")
        make = self._methods.get(path)
        if make is None:
            raise method_not_found(path)
        client = head.client
        caller = Caller(
            identity,
            client.address,
            head.text(b"user-agent"),
            head.text(b"traceparent"),
            self._authenticator,
            client.certificate,
        )
        return Admission(make, caller, head)


def _is_grpc(content_type: bytes) -> bool:
    """Returns whether this is `application/grpc`, with a subtype or parameters that do not matter, or alone."""
    kind = b"application/grpc"
    return content_type[: len(kind)].lower() == kind and content_type[len(kind) : len(kind) + 1] in (b"", b"+", b";")
