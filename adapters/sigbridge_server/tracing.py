"""Traces by OpenTelemetry: a request from its sender, through the hub, into its target's outbox.

It needs the extra `sigbridge[tracing]`; where spans go is said by OpenTelemetry's own variables
(`OTEL_EXPORTER_OTLP_ENDPOINT` and others). Rule 1: no SDP, candidate, token or metadata is put into a span. Rule 2: a
collector that does not respond holds up no end of the server.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from sigbridge.session import Session

FINISH_SECONDS = 1.0


class OpenTelemetryTracer:
    """A `sigbridge.tracing.Tracer` whose spans go to OpenTelemetry's tracer provider."""

    def __init__(self, provider: trace.TracerProvider | None = None, *, owned: TracerProvider | None = None) -> None:
        """Sends spans to `owned`, which `finish` shuts down; else to a host's `provider`; else to the global one."""
        self._owned = owned
        provider = owned or provider
        self._tracer = trace.get_tracer("sigbridge", tracer_provider=provider)
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def _span(self, name: str, kind: SpanKind, session: Session, traceparent: str) -> Iterator[None]:
        """Opens a span about a session, in the trace of `traceparent` if there is one."""
        parent = self._propagator.extract({"traceparent": traceparent}) if traceparent else None
        attributes = {"sigbridge.session": session.id, "sigbridge.protocol": session.protocol}
        with self._tracer.start_as_current_span(name, context=parent, kind=kind, attributes=attributes):
            yield

    def request(self, session: Session, kind: str, traceparent: str) -> AbstractContextManager[object]:
        """Returns a span of the whole request, which `with` begins, in its caller's trace where there is one."""
        return self._span(f"signaling {kind}", SpanKind.SERVER, session, traceparent)

    def delivery(self, target: Session, kind: str) -> AbstractContextManager[object]:
        """Returns a span of the target's outbox, which `with` begins, inside the request's."""
        return self._span(f"deliver {kind}", SpanKind.PRODUCER, target, "")

    def finish(self) -> None:
        """Exports what is left; what has not been taken within `FINISH_SECONDS` is lost."""
        if self._owned is not None:
            # The exporter tries again for many seconds, and nothing interrupts its connecting.
            thread = threading.Thread(target=self._owned.shutdown, name="sigbridge traces", daemon=True)
            thread.start()
            thread.join(FINISH_SECONDS)


def _without_values(record: logging.LogRecord) -> bool:
    """Replaces the arguments of a line of the library; returns True, with which it is written."""
    record.args = ("(hidden)",)
    return True


def configured_tracer() -> OpenTelemetryTracer:
    """Returns a tracer that exports by OTLP as OpenTelemetry's variables say."""
    # It says which header of OTEL_EXPORTER_OTLP_HEADERS is malformed, and those hold tokens.
    logging.getLogger("opentelemetry.util.re").addFilter(_without_values)
    resource = Resource.create({"service.name": "sigbridge"})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return OpenTelemetryTracer(owned=provider)
