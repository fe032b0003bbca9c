"""What is installed here: the version, and whether the hot path is compiled or runs from its sources."""

from importlib.machinery import EXTENSION_SUFFIXES

from sigbridge import __version__, hub


def is_compiled() -> bool:
    """Whether the hot path is machine code; a checkout's is not, nor is that of a wheel built without a C compiler."""
    return hub.__file__.endswith(tuple(EXTENSION_SUFFIXES))


def version() -> str:
    """The version, with ` (compiled)` behind it where the hot path is."""
    return f"{__version__} (compiled)" if is_compiled() else __version__
