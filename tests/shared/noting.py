"""A wire that keeps what it is given, and says nothing."""


class Noting:
    """A wire that keeps what it is given, and says nothing."""

    due = float("inf")
    finished = aborted = False
    successor = None

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.welcome = True
        self.ends: list[str] = []

    def receive(self, data, now):
        self.pieces.append(data)

    def receive_eof(self, now):
        self.ends.append("eof")

    def drain(self, now, grace_seconds=0.0):
        self.ends.append("drain")

    def connection_lost(self, now):
        self.ends.append("lost")

    def fast_output(self, most, now):
        return None

    def take_output(self, most, now):
        return []

    def reading(self):
        return self.welcome

    @property
    def received(self) -> bytes:
        return b"".join(self.pieces)
