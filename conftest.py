"""The rules of every test, wherever it lies; they stand in tests/shared."""

import pytest
from hypothesis import HealthCheck, settings

# Assertions in tests/shared say what they saw, like those of tests.
pytest.register_assert_rewrite(
    "lines",
    "grpc_lines",
    "websocket_lines",
    "websocket_frames",
    "websocket_handshakes",
    "channels",
    "waiting",
    "processes",
    "server_process",
    "proxy",
    "proxy_clients",
    "proxy_features",
    "stage",
    "result_calls",
    "turn_allocations",
    "turn_server",
)

pytest_plugins = ["fast_tests", "time_limits", "distribution", "collected_tests"]

# Hypothesis fails what is slow, which a busy machine is; and on CI it would always try the same.
settings.register_profile(
    "sigbridge",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=False,
    print_blob=True,
    max_examples=50,
)
settings.load_profile("sigbridge")
# For `make test-fast`: what is tried at random is tried less often, tests that ask for a multiple of it included.
settings.register_profile("quick", max_examples=20)
# For `make soak`.
settings.register_profile("soak", max_examples=200)
