"""A host for small pipelines, with WebRTC signaling mounted beside them on one gRPC port."""

import os

# gRPC's C core writes lines of its own to stderr, in its own format, that say nothing our log does not.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
