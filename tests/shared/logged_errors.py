"""Errors in the log, which are faults of ours that something has caught: a play that causes one fails."""

import contextlib
import logging
from collections.abc import Iterator


class _Objection(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise AssertionError(f"logged: {record.getMessage()}")


_objection = _Objection(logging.ERROR)


@contextlib.contextmanager
def objecting() -> Iterator[None]:
    """Raises an AssertionError where something is logged as an error."""
    logger = logging.getLogger("sigbridge")
    logger.addHandler(_objection)
    try:
        yield
    finally:
        logger.removeHandler(_objection)
