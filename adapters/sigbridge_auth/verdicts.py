"""The exceptions of tokens that prove nobody. Their text is for the log, and holds nothing of the token."""


class BadToken(Exception):
    """A token proves nobody."""


class UnknownKey(BadToken):
    """A token names a key that is not here: no guess, and worth another look at the files."""

    def __init__(self, reason: str, signatures: int = 0) -> None:
        super().__init__(reason)
        self.signatures = signatures
        """The signatures that were checked all the same, by keys without a name."""
