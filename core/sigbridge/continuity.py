"""The state of a resumable peer beyond its session, and the tokens by which its client comes back.

A token is a part to look the peer up by, and a secret of 144 bits, of which only the secret is compared, in constant
time. There is one for each incarnation of a peer, and it stays the same over resumes. Rule 1: a token is never logged,
and no `repr` has it. Rule 2: to whom it is worth nothing it is an unknown token.

The states of a resumable peer, and what leads from one to the next:

    standing ──miss: an event did not fit──► behind      standing: its session is told everything
       │  ▲                                   │          behind: its session ends with this request, and is told no more
      lose └───────────find──────────┐       lose        held: it has no session
       └────────────►  held  ◄───────┼────────┘
                         └───────────┘  each ──leave──► gone

Source: `docs/resuming.md`.
"""

import base64
import hmac
import secrets
from typing import Final, Generic, TypeVar

from sigbridge.addresses import address_group
from sigbridge.auth import Identity
from sigbridge.journal import Journal
from sigbridge.remembered import RememberedRequests

P = TypeVar("P")

_LOOKUP_BYTES: Final = 9
_SECRET_BYTES: Final = 18
_LOOKUP_LETTERS: Final = 12
"""Letters of base64 that the part to look up by takes; the secret takes twice as many."""
TOKEN_LETTERS: Final = 36

STANDING: Final = 0
BEHIND: Final = 1
HELD: Final = 2
GONE: Final = 3

# What follows in each state.
# fmt: off
#                              standing  behind    held      gone
_ON_MISS: Final[list[int]] = [ BEHIND,   BEHIND,   HELD,     GONE]
_ON_LOSE: Final[list[int]] = [ HELD,     HELD,     HELD,     GONE]
_ON_FIND: Final[list[int]] = [ STANDING, STANDING, STANDING, GONE]
# fmt: on


class Continuity:
    """The numbers, events, requests and token of one resumable peer."""

    __slots__ = ("identity", "journal", "lookup", "protocol", "remote", "requests", "secret", "state", "unsent")

    def __init__(self, journal: Journal, identity: Identity, protocol: str, remote: str) -> None:
        self.journal = journal
        self.requests = RememberedRequests()
        self.state = STANDING
        self.unsent = 0
        """The events that its session was not told since it is behind."""
        self.identity = identity
        """The identity of its last session; while one stands, that one's own counts."""
        self.protocol = protocol
        """The protocol of its session, or of the last one."""
        self.remote = remote
        """The address of its session, or of the last one; empty behind a unix socket."""
        self.lookup = base64.urlsafe_b64encode(secrets.token_bytes(_LOOKUP_BYTES)).decode()
        self.secret = base64.urlsafe_b64encode(secrets.token_bytes(_SECRET_BYTES))

    @property
    def token(self) -> str:
        """The token, for its client alone."""
        return self.lookup + self.secret.decode()

    @property
    def holder(self) -> str:
        """The one against whom it counts while it is held: its identity, or its group of addresses."""
        return self.identity.name or self.group

    @property
    def group(self) -> str:
        """The group of addresses of its session, or of the last one; empty behind a unix socket."""
        return address_group(self.remote)

    @property
    def bytes(self) -> int:
        """About how many bytes are kept for it."""
        return self.journal.bytes + self.requests.bytes

    @property
    def is_idle(self) -> bool:
        """True where nothing is kept."""
        return self.journal.is_empty and not len(self.requests)

    def miss(self) -> None:
        """Records that an event did not fit into its session's outbox."""
        self.state = _ON_MISS[self.state]
        self.unsent += 1

    def lose(self, in_outbox: int) -> None:
        """Records that its session was lost, with so many messages in its outbox."""
        self.state = _ON_LOSE[self.state]
        self.journal.begin_hold(in_outbox + self.unsent)
        self.unsent = 0

    def find(self, seq: int, now: float) -> None:
        """Records a new session, whose client has seen the events up to `seq` (`now` in monotonic seconds)."""
        self.state = _ON_FIND[self.state]
        self.unsent = 0
        self.journal.end_hold(seq, now)
        self.requests.end_hold(now)

    def leave(self) -> None:
        """Records that the peer has left."""
        self.state = GONE

    def trim(self, before: float, in_outbox: int) -> None:
        """Forgets events and requests from before that time (monotonic seconds).

        The last `in_outbox` events are kept.
        """
        self.journal.trim(before, in_outbox + self.unsent)
        self.requests.trim(before)


class ResumeTokens(Generic[P]):
    """The peers that have tokens."""

    __slots__ = ("_peers",)

    def __init__(self) -> None:
        self._peers: dict[str, tuple[Continuity, P]] = {}

    def add(self, continuity: Continuity, peer: P) -> None:
        """Gives a peer its token."""
        self._peers[continuity.lookup] = continuity, peer

    def remove(self, continuity: Continuity) -> None:
        """Makes a token worth nothing: its peer has left."""
        self._peers.pop(continuity.lookup, None)

    def find(self, token: str) -> P | None:
        """Returns the peer of a token; `None` where it is nobody's."""
        known = self._peers.get(token[:_LOOKUP_LETTERS])
        if known is None or len(token) != TOKEN_LETTERS or not token.isascii():
            return None
        continuity, peer = known
        return peer if hmac.compare_digest(token[_LOOKUP_LETTERS:].encode(), continuity.secret) else None
