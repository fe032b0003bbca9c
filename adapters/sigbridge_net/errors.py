"""Errors of the network that are no end of a connection: what a server cannot listen on, and a client cannot show."""

from sigbridge.errors import SigbridgeError


class ListenError(SigbridgeError, OSError):
    """An address cannot be listened on; the text says which and why."""


class AccessError(SigbridgeError, ValueError):
    """A client's token, certificate or authorities cannot be used; the text never holds a token."""
