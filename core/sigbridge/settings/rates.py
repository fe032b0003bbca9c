"""Settings of rates: how often one client may ask."""

from dataclasses import dataclass
from typing import ClassVar

from sigbridge.settings.declare import Subject, per_second, seconds, whole


@dataclass(frozen=True, kw_only=True)
class Rates(Subject):
    """The bucket of requests that each identity or address has."""

    title: ClassVar[str] = "Rates"

    rate_per_second: float = per_second(
        1000.0,
        "SIGNALING_RATE_PER_SEC",
        "requests of one kind per second from one identity, or from one address without an identity; 0: no limit",
    )
    rate_burst: int = whole(10000, "SIGNALING_RATE_BURST", "burst of requests of one kind above that rate")
    flood_hold_seconds: float = seconds(
        5.0,
        "SIGNALING_FLOOD_HOLD_SEC",
        "an identity, or an address without an identity, that keeps exceeding the rate is refused for so long; "
        "0: not at all",
        zero=True,
    )
    rate_kib_per_token: int = whole(
        64,
        "SIGNALING_RATE_KIB_PER_TOKEN",
        "KiB of a listing, rounded up, that count as one request of the rate; the same of rosters, beyond what the "
        "return of a whole room at once needs",
    )
