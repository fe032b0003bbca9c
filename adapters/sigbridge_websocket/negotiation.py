"""The general path of opening handshakes: the library's machine, with the origins and subprotocols it takes.

Rule 1: this file is not compiled: the library binds functions as methods, which compiled ones do not let it.
Rule 2: who is done with a machine releases it, since it holds itself. Rule 3: the library finds the origin and words
the refusal; which origins are allowed, our list says.
"""

import logging
from collections.abc import Sequence

from websockets.datastructures import Headers
from websockets.exceptions import InvalidOrigin
from websockets.server import ServerProtocol
from websockets.typing import Origin, Subprotocol

from sigbridge.settings import Settings
from sigbridge_net.origins import AllowedOrigins
from sigbridge_websocket.compression import OFFERED
from sigbridge_websocket.credentials import select_subprotocol

# The library logs headers at DEBUG and a line per connection at INFO; the hub has lines of its own.
_library_logger = logging.getLogger("sigbridge.websocket.library")
_library_logger.setLevel(logging.ERROR)


class _Machine(ServerProtocol):
    """A machine of the library's that asks our list of origins."""

    allowed: AllowedOrigins

    def process_origin(self, headers: Headers) -> Origin | None:
        """Returns the origin of a handshake; None if it has none, as programs that are no pages.

        :raises InvalidOrigin: if it is not allowed.
        """
        origin = super().process_origin(headers)
        if origin is not None and not self.allowed.allow(origin):
            raise InvalidOrigin(origin)
        return origin


def negotiator(settings: Settings, origins: AllowedOrigins) -> ServerProtocol:
    """Returns a machine of the library's for one opening handshake."""
    machine = _Machine(
        extensions=OFFERED if settings.websocket_compression else None,
        select_subprotocol=_select,
        logger=_library_logger,
    )
    machine.allowed = origins
    return machine


def release(machine: ServerProtocol) -> None:
    """Lets a machine be freed: its reader, the error that it may have met, and our choice hold it."""
    machine.parser.close()
    error, machine.handshake_exc = machine.handshake_exc, None
    if error is not None:
        # The request holds it, too.
        error.__traceback__ = error.__context__ = error.__cause__ = None
    vars(machine).pop("select_subprotocol", None)


def _select(_: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    name = select_subprotocol(offered)
    return None if name is None else Subprotocol(name)
