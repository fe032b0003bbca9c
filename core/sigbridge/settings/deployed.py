"""Settings for clients that are deployed already: what they expect of a server, and others do not."""

from dataclasses import dataclass
from typing import ClassVar

from sigbridge.settings.declare import Subject, seconds, switch, texts


@dataclass(frozen=True, kw_only=True)
class Deployed(Subject):
    """Expectations of clients of older servers."""

    title: ClassVar[str] = "Deployed clients"

    answer_in_result: tuple[str, ...] = texts(
        "SIGNALING_ANSWER_IN_RESULT",
        "ids of peers whose answer is the result of `peer.offer` in the dotted dialect",
        "peer ids separated by commas",
        default=("remotemedia-server",),
    )
    answer_in_result_seconds: float = seconds(
        30.0, "SIGNALING_ANSWER_IN_RESULT_SEC", "time limit of such an offer for its answer"
    )
    legacy_peers_count: bool = switch(
        False,
        "SIGNALING_LEGACY_PEERS_COUNT",
        "`peers_count` includes the newcomer, as it did in earlier servers",
    )
