"""What can go wrong outside of connections."""


class ListenError(OSError):
    """An address cannot be listened on; the text says which and why."""
