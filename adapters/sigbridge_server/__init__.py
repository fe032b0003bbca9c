"""The server: one hub and its ways in, put together; what it measures, logs and traces. The command is not here."""

import os

# gRPC's C core writes lines of its own to stderr, in its own format, that say nothing our log does not.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
