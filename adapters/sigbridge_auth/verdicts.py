"""What sources say of tokens that prove nobody. The text is for the log, and holds nothing of the token."""


class BadToken(Exception):
    """A token proves nobody."""


class UnknownKey(BadToken):
    """A token names a key that is not here: no guess, and worth another look at the files."""
