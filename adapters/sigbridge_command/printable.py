"""Text of others, as it may be printed on a terminal."""


def printable(text: str) -> str:
    """Returns the text without what would steer a terminal: names are what clients and servers say."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
