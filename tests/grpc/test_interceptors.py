"""Interceptors before every method: tokens, the time limit of unary calls, and the client a call is made for."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from certificates import Authority
from channels import Channels
from later import ALICE, Later
from sigbridge import Hub, Instant, Settings, errors
from sigbridge.auth import ANYBODY, AllowAll, Authenticator, Certificate, Credentials, Identity, StaticTokens
from sigbridge.errors import Code, SignalingError
from sigbridge_grpc.discovery import StandardHealth, add_reflection
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.interceptors import caller_of, interceptors
from sigbridge_grpc.mount import add_signaling, server_options
from sigbridge_grpc.service import SERVICE_NAME
from sigbridge_net.clock import read_clock
from waiting import TIME_LIMIT_SECONDS, until

TOKEN = "s3cret"
BEARER = (("authorization", f"Bearer {TOKEN}"),)
NO_TOKEN = "Invalid or missing API token"
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED


class Host(Channels):
    """A server with signaling, health, reflection and a service of its own that says who calls."""

    def __init__(self, authenticator: Authenticator, settings: Settings) -> None:
        super().__init__("")
        self.hub = Hub(settings, read_clock())
        self.handled: list[str] = []
        self.callers: list[Identity] = []
        self.never = asyncio.Event()
        self.server = grpc.aio.server(
            options=server_options(settings), interceptors=interceptors(authenticator, settings)
        )
        self.mounted = add_signaling(self.server, self.hub)
        self.health = StandardHealth(self.server)
        add_reflection(self.server)
        self.server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    "test.Host",
                    {
                        "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
                        "Slow": grpc.unary_unary_rpc_method_handler(self.slow),
                        "Own": grpc.unary_unary_rpc_method_handler(self.own_timeout),
                        "ServerStream": grpc.unary_stream_rpc_method_handler(self.server_stream),
                        "ClientStream": grpc.stream_unary_rpc_method_handler(self.client_stream),
                        "SlowStream": grpc.unary_stream_rpc_method_handler(self.slow_stream),
                        "Parsed": grpc.unary_unary_rpc_method_handler(self.parsed, request_deserializer=self.parse),
                        "Sync": grpc.unary_unary_rpc_method_handler(self.sync),
                        "SyncStream": grpc.unary_stream_rpc_method_handler(self.sync_stream),
                        "SyncClientStream": grpc.stream_unary_rpc_method_handler(self.sync_client_stream),
                    },
                ),
            )
        )

    def _called(self, name: str, context: Any) -> None:
        self.handled.append(name)
        self.callers.append(caller_of(context))

    async def unary(self, message: bytes, context: Any) -> bytes:
        self._called("Unary", context)
        return message

    async def slow(self, message: bytes, context: Any) -> bytes:
        self._called("Slow", context)
        await self.never.wait()
        return message

    async def own_timeout(self, message: bytes, context: Any) -> bytes:
        self._called("Own", context)
        await context.abort(grpc.StatusCode.ABORTED, "of its own")
        return message

    async def server_stream(self, message: bytes, context: Any) -> AsyncIterator[bytes]:
        self._called("ServerStream", context)
        yield message

    async def slow_stream(self, message: bytes, context: Any) -> AsyncIterator[bytes]:
        self._called("SlowStream", context)
        yield message
        await self.never.wait()
        yield message

    async def client_stream(self, messages: AsyncIterator[bytes], context: Any) -> bytes:
        self._called("ClientStream", context)
        return b"".join([message async for message in messages])

    def parse(self, message: bytes) -> bytes:
        self.handled.append("parse")
        return message

    async def parsed(self, message: bytes, context: Any) -> bytes:
        self._called("Parsed", context)
        return message

    def sync(self, message: bytes, context: Any) -> bytes:
        self._called("Sync", context)
        return message

    def sync_stream(self, message: bytes, context: Any) -> Iterator[bytes]:
        self._called("SyncStream", context)
        yield message
        yield message

    def sync_client_stream(self, messages: Iterator[bytes], context: Any) -> bytes:
        self._called("SyncClientStream", context)
        return b"".join(messages)

    async def unary_call(self, method: str, message: bytes = b"", metadata: Any = (), **how: Any) -> bytes:
        response: bytes = await self.channel(**how).unary_unary(method, None, None)(message, metadata=metadata)
        return response

    async def stop(self) -> None:
        self.never.set()
        await self.close_channels()
        await self.mounted.drain(1)
        await self.server.stop(0)


Start = Callable[..., Awaitable[Host]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def make(
            authenticator: Authenticator | None = None,
            credentials: grpc.ServerCredentials | None = None,
            **settings: Any,
        ) -> Host:
            host = Host(authenticator or StaticTokens([TOKEN, "other"]), Settings(auth_tokens=(TOKEN,), **settings))
            port = (
                host.server.add_insecure_port("127.0.0.1:0")
                if credentials is None
                else host.server.add_secure_port("127.0.0.1:0", credentials)
            )
            host.target = f"127.0.0.1:{port}"
            await host.server.start()
            await host.health.serving()
            stack.push_async_callback(host.stop)
            return host

        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            yield make


async def refused(call: Awaitable[object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code(), error.value.details() or ""


async def stream(host: Host, method: str, metadata: Any = (), messages: tuple[bytes, ...] = (b"",)) -> list[bytes]:
    async def sent() -> AsyncIterator[bytes]:
        for message in messages:
            yield message

    call: Any = host.channel().stream_stream(method, None, None)(sent(), metadata=metadata)
    return [response async for response in call]


async def refused_stream(host: Host, method: str) -> tuple[grpc.StatusCode, str]:
    # It sends nothing: the library's client may lose the status of a stream that ends while it writes.
    call: Any = host.channel().stream_stream(method, None, None)()
    return await call.code(), await call.details()


METADATA = [
    ((), False),
    ((("authorization", "Bearer wrong"),), False),
    ((("authorization", TOKEN + "x"),), False),
    ((("authorization", ""),), False),
    ((("authorization", f"Basic {TOKEN}"),), False),
    ((("authorization", f"Bearer {TOKEN}"), ("authorization", f"Bearer {TOKEN}")), False),
    ((("authorization", "Bearer wrong"), ("authorization", f"Bearer {TOKEN}")), False),
    ((("authorization", f"Bearer {'x' * 6000}"),), False),
    ((("authorization-bin", TOKEN.encode()),), False),
    ((("token", TOKEN),), False),
    (BEARER, True),
    ((("authorization", f"bearer {TOKEN}"),), True),
    ((("authorization", f"BEARER  {TOKEN}"),), True),
    ((("authorization", TOKEN),), True),
    ((("authorization", "other"),), True),
]


@pytest.mark.parametrize(("metadata", "let_in"), METADATA, ids=range(len(METADATA)))
async def test_tokens(start: Start, metadata: Any, let_in: bool) -> None:
    host = await start()
    if let_in:
        assert await host.unary_call("/test.Host/Unary", b"x", metadata) == b"x"
        assert host.handled == ["Unary"]
    else:
        assert await refused(host.unary_call("/test.Host/Unary", b"x", metadata)) == (UNAUTHENTICATED, NO_TOKEN)
        assert host.handled == []


@pytest.mark.parametrize(
    "method",
    [
        "/test.Host/Unary",
        "/test.Host/ServerStream",
        "/test.Host/ClientStream",
        "/test.Host/Nothing",
        "/no.Service/Nothing",
        f"/{SERVICE_NAME}/Signal",
        f"/{SERVICE_NAME}/GetPeers",
        f"/{SERVICE_NAME}/HealthCheck",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/grpc.healthy.v1.Health/Check",
    ],
)
async def test_no_method_of_any_kind_is_reached_without_a_token(start: Start, method: str) -> None:
    host = await start()
    assert await refused_stream(host, method) == (UNAUTHENTICATED, NO_TOKEN)
    assert await refused(host.unary_call(method)) == (UNAUTHENTICATED, NO_TOKEN)
    assert host.handled == []
    assert (host.hub.session_count, host.mounted.stream_count) == (0, 0)
    assert not host.hub.counters.requests


async def test_with_a_token_every_kind_of_method_is_reached(start: Start) -> None:
    host = await start()
    assert await stream(host, "/test.Host/ServerStream", BEARER, (b"a",)) == [b"a"]
    assert await stream(host, "/test.Host/ClientStream", BEARER, (b"a", b"b")) == [b"ab"]
    assert await host.unary_call(f"/{SERVICE_NAME}/GetPeers", b"", BEARER) == b""
    announce = pb.SignalingRequest(request_id="1", announce=pb.AnnounceRequest(peer_id="a")).SerializeToString()
    (response,) = await stream(host, f"/{SERVICE_NAME}/Signal", BEARER, (announce,))
    assert pb.SignalingResponse.FromString(response).WhichOneof("response") == "ack"
    code, _ = await refused(host.unary_call("/test.Host/Nothing", b"", BEARER))
    assert code is grpc.StatusCode.UNIMPLEMENTED


async def test_health_asks_nobody(start: Start) -> None:
    host = await start()
    for service in ("", SERVICE_NAME):
        question = health_pb2.HealthCheckRequest(service=service).SerializeToString()
        response = health_pb2.HealthCheckResponse.FromString(
            await host.unary_call("/grpc.health.v1.Health/Check", question)
        )
        assert response.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_is_open_where_a_setting_says_so(start: Start, version: str) -> None:
    host = await start(reflection_requires_auth=False)
    question = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
    (response,) = await stream(
        host, f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo", (), (question,)
    )
    listed = reflection_pb2.ServerReflectionResponse.FromString(response).list_services_response.service
    assert SERVICE_NAME in {one.name for one in listed}
    assert await refused(host.unary_call("/test.Host/Unary")) == (UNAUTHENTICATED, NO_TOKEN)


async def test_an_open_door_asks_nobody(start: Start) -> None:
    host = await start(AllowAll())
    assert await host.unary_call("/test.Host/Unary", b"x") == b"x"
    assert await host.unary_call("/test.Host/Unary", b"x", (("authorization", "whatever"),)) == b"x"
    assert host.callers == [ANYBODY, ANYBODY]


# The time limit.


async def test_a_unary_call_ends_in_time(start: Start) -> None:
    host = await start(max_timeout_seconds=0.05)
    assert await refused(host.unary_call("/test.Host/Slow", b"", BEARER)) == (
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "The call took longer than 0.05 s",
    )
    assert host.handled == ["Slow"]


async def test_a_unary_call_s_own_end_stays_its_own(start: Start) -> None:
    host = await start(max_timeout_seconds=5)
    assert await refused(host.unary_call("/test.Host/Own", b"", BEARER)) == (grpc.StatusCode.ABORTED, "of its own")


@pytest.mark.parametrize("method", ["/test.Host/Unary", "/test.Host/ServerStream", f"/{SERVICE_NAME}/GetPeers"])
async def test_a_request_cannot_be_held_back_until_its_token_is_good_no_more(start: Start, method: str) -> None:
    host = await start(handshake_timeout_seconds=0.05)
    call: Any = host.channel().stream_stream(method, None, None)(metadata=BEARER)
    assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert host.handled == []
    assert not host.hub.counters.requests


async def test_streams_have_no_such_limit(start: Start) -> None:
    host = await start(max_timeout_seconds=0.01)
    call: Any = host.channel().unary_stream("/test.Host/SlowStream", None, None)(b"x", metadata=BEARER)
    assert await call.read() == b"x"
    # Other calls reach their limit while this one goes on.
    for _ in range(3):
        await refused(host.unary_call("/test.Host/Slow", b"", BEARER))
    host.never.set()
    assert await call.read() == b"x"
    assert await call.code() is grpc.StatusCode.OK


# Who calls.


class Named:
    """Tokens that belong to somebody."""

    def authenticate(self, credentials: Credentials, now: Instant) -> Identity:
        if credentials.token not in ("alice", "bob"):
            raise errors.unauthenticated()
        return Identity(
            subject=credentials.token, peer_ids=frozenset({credentials.token, credentials.certificate_subject or ""})
        )


class Witness(Named):
    """The same, who keeps what was shown."""

    def __init__(self) -> None:
        self.shown: list[Credentials] = []

    def authenticate(self, credentials: Credentials, now: Instant) -> Identity:
        self.shown.append(credentials)
        return super().authenticate(credentials, now)


async def test_calls_at_once_know_their_own_callers(start: Start) -> None:
    host = await start(Named())
    names = ["alice", "bob"] * 20
    await asyncio.gather(
        *(host.unary_call("/test.Host/Unary", b"", (("authorization", f"Bearer {name}"),)) for name in names)
    )
    assert sorted(caller.subject for caller in host.callers) == sorted(names)


async def test_rights_follow_the_token_into_the_session(start: Start) -> None:
    host = await start(Named())
    requests = tuple(
        pb.SignalingRequest(request_id=name, announce=pb.AnnounceRequest(peer_id=name)).SerializeToString()
        for name in ("bob", "alice")
    )
    responses = await stream(host, f"/{SERVICE_NAME}/Signal", (("authorization", "alice"),), requests)
    first, second = map(pb.SignalingResponse.FromString, responses)
    assert (first.error.code, first.error.message) == (
        7,
        "Peer ID mismatch: these credentials may not announce bob",
    )
    assert second.WhichOneof("response") == "ack"


async def test_limits_count_against_the_token_s_owner(start: Start) -> None:
    host = await start(Named(), rate_per_second=0.001, rate_burst=1)
    alice, bob = ((("authorization", name),) for name in ("alice", "bob"))
    await host.unary_call(f"/{SERVICE_NAME}/GetPeers", b"", alice)
    code, details = await refused(host.unary_call(f"/{SERVICE_NAME}/GetPeers", b"", alice))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details.startswith("Too many list_peers requests")
    await host.unary_call(f"/{SERVICE_NAME}/GetPeers", b"", bob)


async def test_what_is_no_protobuf_is_limited_on_unary_calls_too(start: Start) -> None:
    host = await start(Named(), rate_per_second=0.001, rate_burst=2)
    responses = [
        await refused(host.unary_call(f"/{SERVICE_NAME}/{method}", b"\xff", (("authorization", "alice"),)))
        for method in ("GetPeers", "HealthCheck")
        for _ in range(3)
    ]
    codes = [code for code, _ in responses]
    malformed, too_many = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED
    assert codes == [malformed, malformed, too_many] * 2


class Broken:
    """An authenticator of a host that fails."""

    def authenticate(self, credentials: Credentials, now: Instant) -> Identity:
        raise RuntimeError("canary-of-the-inside")


@pytest.mark.filterwarnings("default")
async def test_an_authenticator_that_fails_lets_nobody_in_and_tells_nothing(start: Start) -> None:
    host = await start(Broken())
    for call in (host.unary_call("/test.Host/Unary"), stream(host, f"/{SERVICE_NAME}/Signal")):
        code, details = await refused(call)
        assert (code, details) == (grpc.StatusCode.INTERNAL, "Internal error")
    assert host.handled == []


# Certificates.


def issued(authority: Authority, name: str) -> tuple[bytes, bytes]:
    """A private key and a certificate of the authority's."""
    certificate_file, key_file = authority.issue(name)
    return Path(key_file).read_bytes(), Path(certificate_file).read_bytes()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def test_a_certificate_s_subject_is_the_caller(start: Start, authority: Authority) -> None:
    server = grpc.ssl_server_credentials([issued(authority, "server")], authority.pem, require_client_auth=True)
    key, certificate = issued(authority, "device-1")
    client = grpc.ssl_channel_credentials(authority.pem, key, certificate)
    host = await start(AllowAll(), server)
    await host.unary_call("/test.Host/Unary", b"", credentials=client)
    assert host.callers == [Identity(subject="device-1", source="cert")]


async def test_the_authenticator_is_told_all_at_once_and_once(start: Start, authority: Authority) -> None:
    door = Witness()
    server = grpc.ssl_server_credentials([issued(authority, "server")], authority.pem, require_client_auth=True)
    key, certificate = issued(authority, "device-ü")
    client = grpc.ssl_channel_credentials(authority.pem, key, certificate)
    host = await start(door, server)
    await host.unary_call("/test.Host/Unary", b"", (("authorization", "alice"),), credentials=client)
    assert host.callers == [Identity(subject="alice", peer_ids=frozenset({"alice", "device-ü"}))]
    end = x509.load_pem_x509_certificate(certificate).not_valid_after_utc.timestamp()
    assert door.shown == [Credentials("alice", Certificate("device-ü", end), "127.0.0.1")]
    assert await refused(host.unary_call("/test.Host/Unary", credentials=client)) == (UNAUTHENTICATED, NO_TOKEN)
    assert len(door.shown) == 2


async def test_a_session_knows_who_has_judged_it(start: Start, authority: Authority) -> None:
    door = Witness()
    server = grpc.ssl_server_credentials([issued(authority, "server")], authority.pem, require_client_auth=True)
    key, certificate = issued(authority, "device")
    host = await start(door, server)
    call = await host.call(
        host.channel(credentials=grpc.ssl_channel_credentials(authority.pem, key, certificate)),
        metadata=(("authorization", "alice"),),
    )
    await call.announce("alice")
    (session,) = host.hub._sessions.values()
    assert (session.authenticator, session.remote, session.identity.subject) == (door, "127.0.0.1", "alice")
    assert session.certificate is not None
    assert session.certificate.subject == "device"


async def test_without_interceptors_the_caller_is_the_certificate_s_or_nobody(authority: Authority) -> None:
    class Context:
        def __init__(self, **auth: list[bytes]) -> None:
            self._auth = auth

        def auth_context(self) -> dict[str, list[bytes]]:
            return self._auth

    _, pem = issued(authority, "a")
    assert caller_of(Context()) == ANYBODY
    caller = caller_of(Context(x509_pem_cert=[pem]))
    assert (caller.subject, caller.source, caller.name) == ("a", "cert", "cert:a")
    assert caller.expires_at is not None
    assert caller_of(Context(x509_pem_cert=[b"nonsense"])) == ANYBODY


# Refusals, and what a refused call may cause.


class Refusing:
    """Lets nobody in, for a reason."""

    def __init__(self, error: SignalingError) -> None:
        self.error = error

    def authenticate(self, credentials: Credentials, now: Instant) -> Identity:
        raise self.error


@pytest.mark.parametrize(
    ("error", "trailers"),
    [
        (errors.unauthenticated(), {"signaling-disconnect": "unauthenticated", "signaling-reconnect": "no"}),
        (
            errors.throttled(1500),
            {
                "signaling-disconnect": "throttled",
                "signaling-reconnect": "yes",
                "signaling-retry-after-ms": "1500",
            },
        ),
        (SignalingError(Code.PERMISSION_DENIED, "no"), {}),
    ],
)
async def test_a_refusal_keeps_its_code_and_its_word(
    start: Start, error: SignalingError, trailers: dict[str, str]
) -> None:
    host = await start(Refusing(error))
    for method in (f"/{SERVICE_NAME}/GetPeers", "/test.Host/ServerStream", "/test.Host/Sync", "/test.Host/Nothing"):
        call: Any = host.channel().unary_unary(method, None, None)(b"")
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await call
        code: Any = refusal.value.code().value
        assert (code[0], refusal.value.details()) == (int(error.code), error.message)
        assert dict(refusal.value.trailing_metadata() or ()) == trailers
    assert host.handled == []


async def test_a_call_that_is_refused_is_neither_waited_for_nor_read(start: Start) -> None:
    host = await start()
    call: Any = host.channel().stream_unary("/test.Host/Parsed", None, None)()
    # It sends nothing, and does not say that it will not.
    assert await call.code() is UNAUTHENTICATED
    assert await refused(host.unary_call("/test.Host/Parsed", b"x")) == (UNAUTHENTICATED, NO_TOKEN)
    assert host.handled == []
    assert await host.unary_call("/test.Host/Parsed", b"x", BEARER) == b"x"
    assert host.handled == ["parse", "Parsed"]


async def test_a_unary_call_without_a_request_is_none(start: Start) -> None:
    host = await start()
    for method in ("/test.Host/Unary", "/test.Host/Sync"):
        call: Any = host.channel().stream_unary(method, None, None)(metadata=BEARER)
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED
        assert await call.details() == "The call has one message"
    assert host.handled == []


# Handlers that the library runs in threads.


async def test_handlers_in_threads_are_asked_before_too_and_know_who_calls(start: Start) -> None:
    host = await start(Named())
    alice = (("authorization", "alice"),)
    for method in ("Sync", "SyncStream", "SyncClientStream"):
        assert await refused_stream(host, f"/test.Host/{method}") == (UNAUTHENTICATED, NO_TOKEN)
    assert host.handled == []
    assert await host.unary_call("/test.Host/Sync", b"x", alice) == b"x"
    assert await stream(host, "/test.Host/SyncStream", alice, (b"a",)) == [b"a", b"a"]
    assert await stream(host, "/test.Host/SyncClientStream", alice, (b"a", b"b")) == [b"ab"]
    assert [caller.subject for caller in host.callers] == ["alice"] * 3


# Who is looked up.


async def test_a_call_waits_until_it_is_known_who_calls(start: Start) -> None:
    door = Later()
    host = await start(door)
    calls = [asyncio.ensure_future(host.unary_call(f"/test.Host/{name}", b"x", BEARER)) for name in ("Unary", "Sync")]
    session = asyncio.ensure_future(host.call(metadata=BEARER))
    await until(lambda: len(door.waiting) == 3)
    assert (host.handled, host.hub.session_count) == ([], 0)
    door.decide(ALICE, read_clock())
    assert await asyncio.gather(*calls) == [b"x", b"x"]
    await (await session).announce("a")
    assert [one.identity for one in host.hub._sessions.values()] == [ALICE]
    assert host.callers == [ALICE, ALICE]


async def test_who_is_refused_later_is_told_why(start: Start) -> None:
    door = Later()
    host = await start(door)
    call = asyncio.ensure_future(refused(host.unary_call("/test.Host/Unary", b"x", BEARER)))
    await until(lambda: door.waiting)
    door.decide(errors.throttled(10), read_clock())
    assert (await call)[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_look_up_has_the_time_of_a_handshake(start: Start) -> None:
    host = await start(Later(), handshake_timeout_seconds=0.05)
    for method in ("Unary", "Sync"):
        code, details = await refused(host.unary_call(f"/test.Host/{method}", b"x", BEARER))
        assert (code, details) == (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline exceeded")
    assert host.handled == []


async def test_a_client_that_leaves_meanwhile_is_not_waited_for(start: Start) -> None:
    door = Later()
    host = await start(door)
    call: Any = host.channel().unary_unary("/test.Host/Unary", None, None)(b"", metadata=BEARER)
    await until(lambda: door.waiting)
    (pending,) = door.waiting
    waits = pending._callback
    call.cancel()
    await until(lambda: pending._callback is not waits)
    door.decide(ALICE, read_clock())
    assert host.handled == []
