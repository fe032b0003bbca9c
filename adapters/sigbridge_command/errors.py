"""Errors of the command's own."""

from sigbridge.errors import SigbridgeError


class UsageError(SigbridgeError):
    """The command cannot do what it was asked for; the text names the option and what would be right."""
