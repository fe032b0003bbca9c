"""The interceptors of a gRPC server: one authenticates every call, one limits the time of unary calls.

A server's interceptors are fixed when it is made, so these are exported for hosts: `interceptors`.

Rule 1: an authenticator is asked once for a call, with all that it shows, before its handler is run and before anything
of it is read; `access.py` says which calls are asked nothing. Rule 2: the identity that it proves is kept for the
call's own handler: `caller_of`. Rule 3: whoever is refused does not learn which methods there are.
Source: `docs/security.md`.
"""

import asyncio
import contextlib
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple

import grpc
import grpc.aio

from sigbridge import errors
from sigbridge.auth import ALLOW_ALL, ANYBODY, Authenticator, Certificate, Credentials, Identity
from sigbridge.errors import Code, SignalingError
from sigbridge.instant import Instant
from sigbridge.pending import Pending
from sigbridge.refused import log_hidden
from sigbridge.settings import Settings
from sigbridge_grpc.access import open_prefixes
from sigbridge_grpc.credentials import certificate_of, credentials_of
from sigbridge_grpc.method import not_one_message
from sigbridge_grpc.status import trailers_of_refusal
from sigbridge_net.clock import read_clock
from sigbridge_net.forwarding import Forwarding, forwarding_of

logger = logging.getLogger("sigbridge.grpc")

_END: Any = vars(grpc.aio)["EOF"]
"""The object that is read behind the last request; the stubs do not know it."""
STATUS_CODES = {int(code.value[0]): code for code in grpc.StatusCode}


class Judged(NamedTuple):
    """The caller's identity, and the authenticator that has proven it, before the call's handler is run."""

    identity: Identity
    authenticator: Authenticator
    certificate: Certificate | None


_judged: ContextVar[Judged | None] = ContextVar("sigbridge_judged", default=None)


def interceptors(authenticator: Authenticator, settings: Settings) -> tuple[Any, ...]:
    """Returns the interceptors for a `grpc.aio.server`, in their order."""
    return (
        TokenInterceptor(
            authenticator,
            reflection_requires_token=settings.reflection_requires_auth,
            patience_seconds=settings.handshake_timeout_seconds,
            forwarding=forwarding_of(settings),
        ),
        UnaryTimeLimit(settings.max_timeout_seconds),
    )


def caller_of(context: Any) -> Identity:
    """Returns the identity of a call: as its authenticator proved it, else the certificate's subject."""
    return judged_of(context).identity


def judged_of(context: Any) -> Judged:
    """Returns the identity of a call, and the authenticator that has proven it."""
    judged = _judged.get()
    if judged is not None:
        return judged
    certificate = certificate_of(context.auth_context())
    identity = ANYBODY
    if certificate is not None and certificate.subject:
        identity = Identity(certificate.subject, source="cert", expires_at=certificate.expires_at)
    return Judged(identity, ALLOW_ALL, certificate)


class TokenInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Refuses calls whose credentials prove nobody.

    The address and the certificate of a client are known to a call's handler alone, so that each is put behind one that
    asks first. That one takes a stream of requests, also where there is a single one: a unary handler would be run when
    its request has been read, and whoever is refused could make the server wait for it.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        *,
        reflection_requires_token: bool = True,
        patience_seconds: float = 10.0,
        forwarding: Forwarding | None = None,
    ) -> None:
        """Begins with an authenticator, which may take so long where it must look something up.

        Then a client may take as long to send the single request of a call: a token may be good no more after a while.
        No proxy is believed where `forwarding` is not given.
        """
        self._authenticator = authenticator
        self._forwarding = Forwarding() if forwarding is None else forwarding
        self._patience_seconds = patience_seconds
        self._open = open_prefixes(reflection_requires_token=reflection_requires_token)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Returns the handler of a call, which authenticates first unless its method is open.

        An unknown method is refused.
        """
        handler = await continuation(handler_call_details)
        if handler_call_details.method.startswith(self._open):
            return handler
        if handler is None:
            return grpc.stream_stream_rpc_method_handler(self._refuse_unknown)
        behaviour = next(
            one
            for one in (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream)
            if one
        )
        entrance = _Entrance(self._judge, self._patience_seconds, is_stream=handler.request_streaming)
        make = (
            grpc.stream_stream_rpc_method_handler
            if handler.response_streaming
            else grpc.stream_unary_rpc_method_handler
        )
        return make(
            _guarded_handler(entrance, behaviour, to_stream=handler.response_streaming),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    async def _judge(self, context: Any) -> Judged | SignalingError:
        """Returns the identity of a call, or the refusal of its credentials."""
        try:
            credentials = credentials_of(context, self._forwarding)
            identity = await self._identify(credentials)
        except SignalingError as error:
            return error.bare()
        except Exception as error:  # noqa: BLE001 - it is logged, but for its text
            # The library would tell the client what the exception says.
            log_hidden(error, protocol="grpc")
            return errors.internal_error()
        return Judged(identity, self._authenticator, credentials.certificate)

    async def _identify(self, credentials: Credentials) -> Identity:
        """Returns the identity of credentials, waiting for it if it must be looked up.

        :raises SignalingError: if they are refused; DEADLINE_EXCEEDED if the look-up takes too long.
        """
        identity = self._authenticator.authenticate(credentials, read_clock())
        if not isinstance(identity, Pending):
            return identity
        known: asyncio.Future[Identity | SignalingError] = asyncio.get_running_loop().create_future()

        def resolve(outcome: Identity | SignalingError, _: Instant) -> None:
            if not known.done():
                known.set_result(outcome)

        identity.then(resolve)
        try:
            async with asyncio.timeout(self._patience_seconds):
                outcome = await known
        except TimeoutError:
            raise _deadline_exceeded() from None
        finally:
            identity.abandon()
        if isinstance(outcome, SignalingError):
            raise outcome
        return outcome

    async def _refuse_unknown(self, _: Any, context: Any) -> None:
        """Ends a call of an unknown method as the library does, after authentication."""
        judged = await self._judge(context)
        if isinstance(judged, SignalingError):
            await abort(context, judged)
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")


class _Entrance:
    """Authenticates a call before its handler is run, and reads its request where there is a single one."""

    def __init__(
        self,
        judge: Callable[[Any], Coroutine[Any, Any, Judged | SignalingError]],
        patience_seconds: float,
        *,
        is_stream: bool,
    ) -> None:
        self._judge = judge
        self._patience_seconds = patience_seconds
        self._is_stream = is_stream
        self._loop = asyncio.get_running_loop()

    async def enter(self, requests: Any, context: Any) -> Any:
        """Authenticates; returns the requests or the single request for the handler, or ends the call."""
        judged = await self._judge(context)
        if isinstance(judged, SignalingError):
            await abort(context, judged)
        else:
            _judged.set(judged)
        if self._is_stream:
            return requests
        try:
            async with asyncio.timeout(self._patience_seconds):
                request = await context.read()
        except TimeoutError:
            await abort(context, _deadline_exceeded())
        if request is _END:
            await abort(context, not_one_message())
        return request

    def enter_in_thread(self, requests: Iterator[Any], context: Any) -> Any:
        """Authenticates as `enter` does, but in a thread of the library's.

        The authenticator is asked on the event loop.
        """
        judged = asyncio.run_coroutine_threadsafe(self._judge(context), self._loop).result()
        if isinstance(judged, SignalingError):
            _abort_in_thread(context, judged)
        else:
            # The thread serves other calls later, each of which is judged again.
            _judged.set(judged)
        if self._is_stream:
            return requests
        for request in requests:
            return request
        return _abort_in_thread(context, not_one_message())


def _guarded_handler(entrance: _Entrance, behaviour: Any, *, to_stream: bool) -> Any:
    """Returns a handler that authenticates first, of the same kind as `behaviour`, by which the library runs it.

    The kinds are coroutines, which respond or write to the context, asynchronous generators, and functions and
    generators that are run in threads.
    """

    async def respond(requests: Any, context: Any) -> Any:
        return await behaviour(await entrance.enter(requests, context), context)

    async def generate(requests: Any, context: Any) -> AsyncIterator[Any]:
        """Authenticates, and yields the responses of an asynchronous generator."""
        request = await entrance.enter(requests, context)
        async with contextlib.aclosing(behaviour(request, context)) as responses:
            async for response in responses:
                yield response

    def respond_in_thread(requests: Iterator[Any], context: Any) -> Any:
        return behaviour(entrance.enter_in_thread(requests, context), context)

    def generate_in_thread(requests: Iterator[Any], context: Any) -> Iterator[Any]:
        yield from behaviour(entrance.enter_in_thread(requests, context), context)

    if inspect.isasyncgenfunction(behaviour):
        return generate
    if inspect.iscoroutinefunction(behaviour):
        return respond
    return generate_in_thread if to_stream else respond_in_thread


class UnaryTimeLimit(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Ends unary calls that take too long with DEADLINE_EXCEEDED; streams have limits of their own."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Returns the handler of a call; that of an asynchronous unary one is limited in time."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None or not inspect.iscoroutinefunction(handler.unary_unary):
            return handler
        original = handler.unary_unary

        async def limited(request: Any, context: Any) -> Any:
            """Runs the handler within the time limit; ends the call with DEADLINE_EXCEEDED after it."""
            try:
                async with asyncio.timeout(self._seconds) as limit:
                    return await original(request, context)
            except TimeoutError:
                # A handler may raise one for reasons of its own.
                if not limit.expired():
                    raise
                await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, f"The call took longer than {self._seconds:g} s")

        return grpc.unary_unary_rpc_method_handler(
            limited,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


def _deadline_exceeded() -> SignalingError:
    return SignalingError(Code.DEADLINE_EXCEEDED, "Deadline exceeded")


async def abort(context: Any, error: SignalingError) -> None:
    """Ends a call with the status of an error; as `ServicerContext.abort` it never returns.

    :raises AbortError: always.
    """
    await context.abort(STATUS_CODES[int(error.code)], error.message, trailers_of_refusal(error))


def _abort_in_thread(context: Any, error: SignalingError) -> None:
    context.abort(STATUS_CODES[int(error.code)], error.message, trailers_of_refusal(error))
