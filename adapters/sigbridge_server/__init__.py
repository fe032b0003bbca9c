"""The server: one hub and its ways in, put together, and the `sigbridge` command."""

import os

# gRPC's C core writes lines of its own to stderr, in its own format, that say nothing our log does not.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
