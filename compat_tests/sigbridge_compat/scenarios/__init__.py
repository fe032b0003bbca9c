"""The scenarios, by subject. Importing this package registers all of them."""

from sigbridge_compat.scenario import DOTTED_SCENARIOS, RESUMING_SCENARIOS, SCENARIOS
from sigbridge_compat.scenarios import (
    announcing,
    calling,
    dotted,
    fidelity,
    ice_servers,
    identities,
    leaving,
    listing,
    refusals,
    relaying,
    repeating,
    resuming,
    taking_ids,
)

__all__ = [
    "DOTTED_SCENARIOS",
    "RESUMING_SCENARIOS",
    "SCENARIOS",
    "announcing",
    "calling",
    "dotted",
    "fidelity",
    "ice_servers",
    "identities",
    "leaving",
    "listing",
    "refusals",
    "relaying",
    "repeating",
    "resuming",
    "taking_ids",
]
