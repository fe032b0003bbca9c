"""The root of the benchmark's errors."""

from sigbridge.errors import SigbridgeError


class BenchError(SigbridgeError):
    """The benchmark cannot do what it was asked for; the text says why."""
