"""What stands before every method of a gRPC server: the token, and the time limit of unary calls.

A server's interceptors are fixed when it is made, so these are exported for hosts: `interceptors`.

Rule 1: a call without a token that is known ends with UNAUTHENTICATED before its handler is looked at; `access.py` says
which calls are asked for none. Rule 2: the identity that a token proves is kept for the call's own handler:
`caller_of`.
Source: `docs/security.md`.
"""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, NamedTuple

import grpc
import grpc.aio

from sigbridge import errors
from sigbridge.auth import ALLOW_ALL, ANYBODY, Authenticator, Certificate, Credentials, Identity
from sigbridge.errors import SignalingError
from sigbridge.pending import Pending
from sigbridge.settings import Settings
from sigbridge_grpc.access import open_prefixes
from sigbridge_net.clock import read_clock
from sigbridge_net.credentials import bearer_token

logger = logging.getLogger("sigbridge.grpc")


class _Shown(NamedTuple):
    authenticator: Authenticator
    token: str | None
    identity: Identity


_shown: ContextVar[_Shown | None] = ContextVar("sigbridge_shown", default=None)


def interceptors(authenticator: Authenticator, settings: Settings) -> tuple[Any, ...]:
    """The interceptors for a `grpc.aio.server`, in their order."""
    return (
        TokenInterceptor(authenticator, reflection_requires_token=settings.reflection_requires_auth),
        UnaryTimeLimit(settings.max_timeout_seconds),
    )


def caller_of(context: Any) -> Identity:
    """The identity of a call: the one that its token proves, or else the subject of its client's certificate."""
    names = context.auth_context().get("x509_common_name")
    subject = names[0].decode("utf-8", "replace") if names else None
    shown = _shown.get()
    if shown is None:
        return Identity(subject=subject) if subject else ANYBODY
    if subject is None:
        return shown.identity
    identity = shown.authenticator.authenticate(Credentials(shown.token, Certificate(subject)), read_clock())
    assert not isinstance(identity, Pending)
    return identity


def shown_to(context: Any) -> tuple[Authenticator, Certificate | None]:
    """The one that let a call in, which judges the tokens that its session shows later, and the call's certificate."""
    names = context.auth_context().get("x509_common_name")
    shown = _shown.get()
    certificate = Certificate(names[0].decode("utf-8", "replace")) if names else None
    return ALLOW_ALL if shown is None else shown.authenticator, certificate


class TokenInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Refuses calls whose credentials prove nobody."""

    def __init__(self, authenticator: Authenticator, *, reflection_requires_token: bool = True) -> None:
        self._authenticator = authenticator
        self._open = open_prefixes(reflection_requires_token=reflection_requires_token)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Look at the metadata, and go on or end the call."""
        if handler_call_details.method.startswith(self._open):
            return await continuation(handler_call_details)
        values = [
            value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")
            for name, value in handler_call_details.invocation_metadata
            if name == "authorization"
        ]
        token = bearer_token(values, bare=True)
        try:
            identity = self._authenticator.authenticate(Credentials(token=token), read_clock())
            assert not isinstance(identity, Pending)
        except SignalingError as error:
            return _refusal(grpc.StatusCode.UNAUTHENTICATED, error)
        except Exception:
            # The library would tell the client what the exception says.
            logger.exception("credentials could not be looked at")
            return _refusal(grpc.StatusCode.INTERNAL, errors.internal_error())
        _shown.set(_Shown(self._authenticator, token, identity))
        return await continuation(handler_call_details)


class UnaryTimeLimit(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Ends unary calls that take too long with DEADLINE_EXCEEDED; streams have limits of their own."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Put the limit around the handler."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None or not inspect.iscoroutinefunction(handler.unary_unary):
            return handler
        original = handler.unary_unary

        async def limited(request: Any, context: Any) -> Any:
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


def _refusal(status: grpc.StatusCode, error: SignalingError) -> Any:
    async def refuse(_: Any, context: Any) -> None:
        await context.abort(status, error.message)

    # A handler of any kind ends the call; this one never reads what the client sends.
    return grpc.stream_stream_rpc_method_handler(refuse)
