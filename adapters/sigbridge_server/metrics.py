"""The core's counters as Prometheus reads them.

Rule 1: nothing is counted here: a scrape reads the plain integers of the core and turns them into samples, so that a
message pays for no metric. Rule 2: every label value is a word of ours; clients cannot make the number of series grow.
Rule 3: the `grpc_webrtc_signaling_*` names are those that dashboards already use, `peers_total` being a gauge in spite
of its name. Source: `docs/metrics.md`.
"""

import platform
from collections.abc import Callable, Iterator
from typing import Protocol

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from sigbridge import __version__
from sigbridge.counters import SECONDS_BOUNDS
from sigbridge.hub import Hub
from sigbridge_net.carrier import Carrier
from sigbridge_server.log_writer import lines_dropped
from sigbridge_server.versions import is_compiled

DOCUMENT_TYPES = ("announce", "offer", "answer", "ice_candidate", "disconnect", "list_peers")


class LagMeter(Protocol):
    """Something that knows how late the event loop is."""

    @property
    def lag_seconds(self) -> float:
        """The delay of the last call by the event loop, in seconds."""


class HubCollector(Collector):
    """The samples of one hub, and of what carries it."""

    def __init__(self, hub: Hub, lag: LagMeter | None = None, carrier: Carrier | None = None) -> None:
        self._hub = hub
        self._lag = lag
        self._carrier = carrier

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics of the hub, from its counters and tables as they are now."""
        yield from self._document_metrics()
        yield from self._request_metrics()
        yield from self._awaited_answer_metrics()
        yield from self._continuity_metrics()
        yield from self._connection_metrics()
        yield from self._refusal_metrics()
        yield from self._queue_metrics()

    def _document_metrics(self) -> Iterator[Metric]:
        """Yields the metrics whose names older dashboards know."""
        hub = self._hub
        yield GaugeMetricFamily("grpc_webrtc_signaling_peers_total", "Announced peers now", value=hub.peer_count)
        yield GaugeMetricFamily(
            "grpc_webrtc_signaling_streams_active", "Open gRPC sessions", value=hub.counters.sessions["grpc"]
        )
        accepted = CounterMetricFamily(
            "grpc_webrtc_signaling_messages", "Accepted requests, both protocols together", labels=["type"]
        )
        for kind in DOCUMENT_TYPES:
            total = sum(hub.counters.requests[protocol, kind, "ok"] for protocol in hub.counters.sessions)
            accepted.add_metric([kind], total)
        yield accepted
        yield GaugeMetricFamily(
            "grpc_webrtc_signaling_pending_offers", "Offers without an answer yet", value=hub.pending_offer_count
        )

    def _request_metrics(self) -> Iterator[Metric]:
        """Yields the metrics of sessions, requests, relays, request times and disconnects."""
        counters = self._hub.counters
        sessions = GaugeMetricFamily("sigbridge_sessions", "Open sessions", labels=["protocol"])
        for protocol, count in counters.sessions.items():
            sessions.add_metric([protocol], count)
        yield sessions
        dialects = CounterMetricFamily(
            "sigbridge_dialect_changes", "Sessions that began to speak another dialect of JSON-RPC", labels=["dialect"]
        )
        for dialect, count in counters.dialects.items():
            dialects.add_metric([dialect], count)
        yield dialects
        requests = CounterMetricFamily(
            "sigbridge_requests", "Requests, by how they ended", labels=["protocol", "method", "outcome"]
        )
        for request_labels, count in counters.requests.items():
            requests.add_metric(request_labels, count)
        yield requests
        relays = CounterMetricFamily(
            "sigbridge_relays", "Messages from peer to peer", labels=["from_protocol", "to_protocol", "type"]
        )
        for relay_labels, count in counters.relays.items():
            relays.add_metric(relay_labels, count)
        yield relays
        seconds = HistogramMetricFamily(
            "sigbridge_request_seconds",
            "From taking a request to queueing its reply",
            labels=["protocol", "method"],
        )
        for time_labels, histogram in counters.seconds.items():
            running, buckets = 0, []
            for bound, count in zip((*map(str, SECONDS_BOUNDS), "+Inf"), histogram.counts, strict=True):
                running += count
                buckets.append((bound, running))
            seconds.add_metric(time_labels, buckets=buckets, sum_value=histogram.total)
        yield seconds
        disconnects = CounterMetricFamily(
            "sigbridge_disconnects", "Ended sessions, by reason", labels=["protocol", "reason"]
        )
        for end_labels, count in counters.disconnects.items():
            disconnects.add_metric(end_labels, count)
        yield disconnects

    def _awaited_answer_metrics(self) -> Iterator[Metric]:
        """Yields the metrics of offers whose answer is the result."""
        hub = self._hub
        yield GaugeMetricFamily(
            "sigbridge_awaited_answers",
            "Offers whose answer is the result and not here yet",
            value=hub.awaited_answer_count,
        )
        ended = CounterMetricFamily(
            "sigbridge_awaited_answers_ended", "Such offers that wait no more, by how they ended", labels=["end"]
        )
        for end, count in hub.counters.awaited_answers.items():
            ended.add_metric([end], count)
        yield ended

    def _continuity_metrics(self) -> Iterator[Metric]:
        """Yields the metrics of held peers, resumes and takeovers."""
        held, counters = self._hub.held, self._hub.counters
        yield GaugeMetricFamily("sigbridge_held_peers", "Peers that have lost their sessions", value=len(held))
        yield GaugeMetricFamily("sigbridge_held_bytes", "Bytes that are kept for them, about", value=held.bytes)
        resumes = CounterMetricFamily(
            "sigbridge_resumes",
            "Tokens that were shown to resume a peer, by what became of it",
            labels=["from_protocol", "to_protocol", "outcome"],
        )
        for resume_labels, count in counters.resumes.items():
            resumes.add_metric(resume_labels, count)
        yield resumes
        for name, text, label, counts in (
            ("sigbridge_held_peers_ended", "Peers that are held no more, by how that ended", "end", counters.held_ends),
            ("sigbridge_takeovers", "Ids that were taken from other peers, or not", "outcome", counters.takeovers),
            ("sigbridge_repeated_requests", "Requests that came again", "protocol", counters.repeated_requests),
            ("sigbridge_repeated_events", "Events that were told again", "protocol", counters.repeated_events),
        ):
            family = CounterMetricFamily(name, text, labels=[label])
            for word, count in counts.items():
                family.add_metric([word], count)
            yield family

    def _connection_metrics(self) -> Iterator[Metric]:
        """Yields the metrics of the clients' connections."""
        carrier = self._carrier
        if carrier is None:
            return
        for name, text, value in (
            ("sigbridge_connections", "Open connections of clients", carrier.connection_count),
            ("sigbridge_connections_limit", "Connections of clients that there may be", carrier.limits.connections),
        ):
            yield GaugeMetricFamily(name, text, value=value)

    def _refusal_metrics(self) -> Iterator[Metric]:
        """Yields the metrics of refusals, ignored responses and dropped log lines."""
        refusals = CounterMetricFamily(
            "sigbridge_refusals", "Who was not let in, by reason", labels=["protocol", "reason"]
        )
        for labels, count in self._hub.counters.refusals.items():
            refusals.add_metric(labels, count)
        yield refusals
        yield CounterMetricFamily(
            "sigbridge_ignored_responses",
            "JSON-RPC results and errors that clients sent, which were ignored",
            value=self._hub.counters.ignored_responses,
        )
        yield CounterMetricFamily(
            "sigbridge_log_lines_dropped",
            "Lines of this process's stdout and stderr that nobody took, and that were dropped",
            value=lines_dropped(),
        )

    def _queue_metrics(self) -> Iterator[Metric]:
        """Yields the metrics of outboxes and rooms, and the event loop's lag."""
        queued = self._hub.queued()
        for name, text, value in (
            ("sigbridge_outbox_messages", "Messages that wait for their sessions, all together", queued.messages),
            ("sigbridge_outbox_bytes", "Bytes that wait for their sessions, all together", queued.bytes),
            ("sigbridge_outbox_longest_messages", "Messages that wait for the slowest session", queued.longest),
        ):
            yield GaugeMetricFamily(name, text, value=value)
        yield GaugeMetricFamily("sigbridge_rooms", "Rooms with at least one peer", value=self._hub.room_count)
        if self._lag is not None:
            yield GaugeMetricFamily(
                "sigbridge_event_loop_lag_seconds",
                "How late the event loop's last timer came",
                value=self._lag.lag_seconds,
            )


class ServerCollector(Collector):
    """Collects the build that runs, and the end of the server's certificate."""

    def __init__(self, engine: str, not_after: Callable[[], float | None]) -> None:
        self._engine = engine
        self._not_after = not_after

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics of the build and of the certificate's end."""
        build = GaugeMetricFamily(
            "sigbridge_build_info",
            "What runs: always 1",
            labels=["version", "python", "compiled", "engine"],
        )
        compiled = "true" if is_compiled() else "false"
        build.add_metric([__version__, platform.python_version(), compiled, self._engine], 1)
        yield build
        not_after = self._not_after()
        if not_after is not None:
            yield GaugeMetricFamily(
                "sigbridge_certificate_not_after_seconds",
                "The end of the server's certificate, in Unix seconds; without TLS there is none",
                value=not_after,
            )


def make_registry(
    hub: Hub,
    lag: LagMeter | None = None,
    carrier: Carrier | None = None,
    *,
    engine: str = "grpcio",
    not_after: Callable[[], float | None] = lambda: None,
) -> CollectorRegistry:
    """Returns a registry with the samples of the hub, of the carrier of its clients, and of the process.

    `engine` is what serves gRPC: the library, where a host does it by itself; `not_after` returns the end of the
    server's certificate (Unix seconds), if it has one.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(HubCollector(hub, lag, carrier))
    registry.register(ServerCollector(engine, not_after))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def metrics_text(registry: CollectorRegistry) -> tuple[bytes, str]:
    """Returns the registry as text, and its content type."""
    return generate_latest(registry), CONTENT_TYPE_LATEST
