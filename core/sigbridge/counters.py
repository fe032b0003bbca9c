"""What has happened so far, in plain integers. Every key is a word of ours: clients cannot make the tables grow."""

from collections import Counter


class Counters:
    """Counts since the hub was made."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, str]] = Counter()
        """By (protocol, kind, outcome); an outcome is `ok` or the name of a `Code`."""
        self.relays: Counter[tuple[str, str, str]] = Counter()
        """Messages put into a target's outbox, by (sender's protocol, target's protocol, kind)."""
        self.events: Counter[tuple[str, str]] = Counter()
        """Events put into outboxes, by (receiver's protocol, kind)."""
        self.disconnects: Counter[tuple[str, str]] = Counter()
        """Ended sessions, by (protocol, reason)."""
        self.sessions: Counter[str] = Counter()
        """Sessions that are open now, by protocol."""
        self.ignored_responses = 0
        """JSON-RPC results and errors that clients sent us."""
