"""Installation of sigbridge: its version, and whether the hot path is compiled or runs from its sources."""

from importlib.machinery import EXTENSION_SUFFIXES

from sigbridge import __version__, hub


def is_compiled() -> bool:
    """Returns True for a hot path of machine code: not a checkout's, nor that of a wheel built without a C compiler."""
    return hub.__file__.endswith(tuple(EXTENSION_SUFFIXES))


def version() -> str:
    """Returns the version, with ` (compiled)` behind it where the hot path is."""
    return f"{__version__} (compiled)" if is_compiled() else __version__
