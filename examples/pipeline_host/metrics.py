"""The pipelines' own metrics, in the registry that holds the hub's as well.

Rule 1: every label value is a word of ours: no name out of a manifest.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS_BOUNDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


class PipelineMetrics:
    """Metrics of pipelines, for operators."""

    def __init__(self, registry: CollectorRegistry, *, running: Callable[[], float]) -> None:
        self.calls = Counter(
            "pipeline_calls", "Calls that have ended, by status", labelnames=("method", "code"), registry=registry
        )
        self.items = Counter("pipeline_items", "Items that went through", labelnames=("method",), registry=registry)
        self.item_seconds = Histogram(
            "pipeline_item_seconds",
            "From taking an item to having its outputs, waiting included",
            labelnames=("method",),
            buckets=SECONDS_BOUNDS,
            registry=registry,
        )
        self.open_calls = Gauge("pipeline_open_calls", "Calls now", labelnames=("method",), registry=registry)
        Gauge("pipeline_running", "Items that run or wait for a thread now", registry=registry).set_function(running)
