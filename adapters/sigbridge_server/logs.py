"""How log lines look: readable on a terminal, or one JSON object a line.

The code logs with the standard library and puts what it knows into `extra`; structlog makes the line, whoever wrote it.
Rule 1: ids are shown so that a line break in them breaks no line. Rule 2: no token is logged at any level: nothing that
logs is ever given one.
"""

import logging
import sys
from typing import TextIO

import structlog
from structlog.types import EventDict, Processor

from sigbridge.settings import Settings


def configure_logging(settings: Settings, *, stream: TextIO | None = None) -> None:
    """Make the root logger write to `stream` (stderr where it is not given) as the settings say."""
    out = stream if stream is not None else sys.stderr
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor]
    if settings.json_logging:
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        last = [
            _on_one_line,
            structlog.dev.ConsoleRenderer(
                colors=out.isatty(), repr_native_str=True, exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
        )
    )
    # No line tells of threads and processes, and to find them out takes as long as half a line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())


def _on_one_line(_: object, __: str, event: EventDict) -> EventDict:
    """Escape in the text itself what could begin another line or steer a terminal; values are escaped as they are."""
    event["event"] = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in str(event["event"])
    )
    return event
