"""A room whose peers may outlive their sessions, told once more: a plain model, without a table of the hub's own.

Of each incarnation of a peer there is what it must be told, in order: its log. Events are tuples. See `docs/resuming.md`.
"""

WINDOW_SECONDS = 30
TAKEOVERS = 6
HOLDING = frozenset(
    {
        "connection_lost",
        "keepalive_timeout",
        "slow_consumer",
        "max_age",
        "token_expired",
        "message_timeout",
        "overload",
        "internal_error",
    }
)


class Incarnation:
    """One peer from its announce until it leaves: its session, if it has one, and what it must be told."""

    def __init__(self, peer_id, session, *, resumable):
        self.peer_id = peer_id
        self.session = session
        self.resumable = resumable
        self.owner = "" if session is None else session.identity.name
        self.lost_at = None
        self.log = []
        self.told_at = []
        self.outcomes = {}
        """By the ids of requests, what they were and how they ended."""

    def tell(self, event, now):
        self.log.append(event)
        self.told_at.append(now)


class Room:
    """The peers of a room, and the rules of announcing, losing and leaving, while nothing is ever full."""

    knows_all = True
    """True where it says what becomes of each request."""

    def __init__(self):
        self.now = 0.0
        self.members = {}
        """By id, in the order in which they joined."""
        self.losses = 0
        self.taken = {}
        """By taker and id, when it was taken from a session that stood."""

    def announce(self, session, peer_id, *, resumable, shown, last_seq):
        """Returns what must become of an announce: `resumed`, `new`, `refused` or `limited`; and of the room.

        `shown` is the incarnation whose token it shows. `either` is `resumed` or `new`: it is so long ago that events may
        be forgotten. Nothing changes but by `resume` and `join`.
        """
        name = session.identity.name
        current = self.members.get(peer_id)
        owned = shown if shown is not None and shown is current and self.owner(shown) in ("", name) else None
        if owned is not None and last_seq <= len(owned.log):
            young = all(self.now - at < WINDOW_SECONDS for at in owned.told_at[last_seq:])
            return "resumed" if young else "either"
        if current is None or current is owned:
            return "new"
        if current.session is None:
            return "new" if current.owner in ("", name) else "refused"
        if not (name and current.session.identity.name == name and resumable):
            return "refused"
        recent = [at for at in self.taken.get((name, peer_id), ()) if at + 60 > self.now]
        return "limited" if len(recent) >= TAKEOVERS else "new"

    @staticmethod
    def owner(incarnation):
        standing = incarnation.session
        return incarnation.owner if standing is None else standing.identity.name

    def resume(self, session, peer_id):
        incarnation = self.members[peer_id]
        incarnation.session, incarnation.lost_at = session, None
        incarnation.owner = session.identity.name
        return incarnation

    def join(self, session, peer_id, *, resumable, shown):
        former = self.members.get(peer_id)
        if former is not None:
            if former.session is not None and former is not shown:
                self.taken.setdefault((session.identity.name, peer_id), []).append(self.now)
            self.leave(former)
        newcomer = Incarnation(peer_id, session, resumable=resumable)
        for other in self.members.values():
            newcomer.tell(("joined", other.peer_id), self.now)
            other.tell(("joined", peer_id), self.now)
        self.members[peer_id] = newcomer
        return newcomer

    def leave(self, incarnation):
        del self.members[incarnation.peer_id]
        for other in self.members.values():
            other.tell(("left", incarnation.peer_id), self.now)

    def end(self, session, word):
        """A session has ended."""
        for incarnation in list(self.members.values()):
            if incarnation.session is session:
                if incarnation.resumable and word in HOLDING:
                    self.losses += 1
                    incarnation.session, incarnation.lost_at = None, (self.now, self.losses)
                else:
                    self.leave(incarnation)

    def wait(self, seconds):
        """Time passes; the peers leave whose time is up, the first lost first."""
        self.now += seconds
        held = [each for each in self.members.values() if each.lost_at is not None]
        for incarnation in sorted(held, key=lambda each: each.lost_at):
            if incarnation.lost_at[0] + WINDOW_SECONDS <= self.now:
                self.leave(incarnation)


class WatchedRoom:
    """A room in which anything may be full: who is there is looked up in the hub, and nothing is foretold."""

    knows_all = False

    def __init__(self, hub):
        self.now = 0.0
        self._hub = hub
        self._known = {}
        """By the hub's number of the incarnation."""

    @property
    def members(self):
        room = self._hub._rooms.find("")
        return {} if room is None else {peer_id: self._of(peer) for peer_id, peer in room.peers.items()}

    def _of(self, peer):
        known = self._known.get(peer.incarnation)
        if known is None:
            known = Incarnation(peer.peer_id, peer.session, resumable=peer.continuity is not None)
            self._known[peer.incarnation] = known
        known.session = peer.session
        return known

    def announce(self, session, peer_id, **how):
        return "anything"

    def resume(self, session, peer_id):
        return self.members[peer_id]

    def join(self, session, peer_id, **how):
        # Who cannot even take what its own announce has caused may be gone already.
        return self.members.get(peer_id) or Incarnation(peer_id, session, resumable=False)

    def leave(self, incarnation):
        pass

    def end(self, session, word):
        pass

    def wait(self, seconds):
        self.now += seconds
