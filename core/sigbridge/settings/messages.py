"""Settings of messages: the sizes of what a client may send, and the time it has for that."""

from dataclasses import dataclass
from typing import ClassVar

from sigbridge.settings.declare import Subject, seconds, whole


@dataclass(frozen=True, kw_only=True)
class Messages(Subject):
    """The sizes of a message and of its fields, and its time."""

    title: ClassVar[str] = "Messages"

    max_message_bytes: int = whole(
        1048576, "SIGNALING_MAX_MESSAGE_BYTES", "largest message from a client; a larger one ends its connection"
    )
    message_timeout_seconds: float = seconds(
        30.0,
        "SIGNALING_MESSAGE_TIMEOUT_SEC",
        "time limit of a message from its first byte to its last, plus one second per 8000 bytes; time during which "
        "the server itself does not read is not counted",
    )
    max_batch_requests: int = whole(
        1000, "SIGNALING_MAX_BATCH_REQUESTS", "most requests in one JSON-RPC batch; a longer one is refused as a whole"
    )
    max_batch_response_bytes: int = whole(
        4194304,
        "SIGNALING_MAX_BATCH_RESPONSE_BYTES",
        "most bytes of responses to one JSON-RPC batch; beyond it the rest of the batch is refused",
    )
    max_sdp_bytes: int = whole(131072, "SIGNALING_MAX_SDP_BYTES", "largest SDP, in bytes of UTF-8")
    max_candidate_bytes: int = whole(4096, "SIGNALING_MAX_CANDIDATE_BYTES", "largest ICE candidate, in bytes of UTF-8")
    max_metadata_bytes: int = whole(16384, "SIGNALING_MAX_METADATA_BYTES", "largest metadata, in bytes of compact JSON")
    max_capabilities_bytes: int = whole(
        16384, "SIGNALING_MAX_CAPABILITIES_BYTES", "largest capabilities, in bytes of compact JSON"
    )
