"""The scenarios, by subject. Importing this package registers all of them."""

from sigbridge_compat.scenario import SCENARIOS
from sigbridge_compat.scenarios import announcing, calling, fidelity, identities, leaving, listing, refusals, relaying

__all__ = ["SCENARIOS", "announcing", "calling", "fidelity", "identities", "leaving", "listing", "refusals", "relaying"]
