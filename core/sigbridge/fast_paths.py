"""The switch of the fast paths, for tests and measurements.

Nearly all that a server does is to relay, and what is nearly always so has a fast path: a function named `fast_…` that
returns None for "take the general path", and has changed nothing then that the general path would not. The table of
`docs/architecture.md` lists each of them, with the test that plays both on the same inputs.
"""

import os
from typing import Final

VARIABLE: Final = "SIGBRIDGE_FAST_PATHS"
"""`off` turns all off, names with commas between them turn off these; read at the start."""

_off: Final = frozenset(os.environ.get(VARIABLE, "").split(","))


def is_on(name: str) -> bool:
    """Returns whether the fast path of that name is taken."""
    return name not in _off and "off" not in _off
