"""The door for distributed tracing: what a tracer is told, and by whom it may be asked.

The core knows no tracing library; `sigbridge_server.tracing` has one for OpenTelemetry. A hub without a tracer pays for
one comparison a request.
"""

from contextlib import AbstractContextManager
from typing import Protocol

from sigbridge.session import Session


class Tracer(Protocol):
    """Follows a request from its sender to its target's outbox."""

    def request(self, session: Session, kind: str, traceparent: str) -> AbstractContextManager[object]:
        """A span in which a request is applied; `traceparent` is its caller's context (W3C Trace Context), or empty."""

    def delivery(self, target: Session, kind: str) -> AbstractContextManager[object]:
        """A span in which an event is put into a target's outbox, inside a request."""
