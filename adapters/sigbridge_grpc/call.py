"""A call on one stream, as its method sees it and as the wire keeps it.

Its states, and the verb of each step:

    awaiting ──accept──▶ accepted ──respond──▶ responding
       │                    │                      │
     finish               finish                 finish
       │                    ▼                      ▼
       └──────────────▶ finished ──respond──▶ ending ──conclude──▶ concluded ──release──▶ gone
                            └────────────────conclude────────────────▲
    any ──release──▶ gone

A call is awaiting where its client's identity must be looked up first: its method is made when that is known. So is
that of a page, until there is a response: it never responds before it is finished.
Responding sends the response's headers. A call is finished by its method, or for it, while some of what the method has
said still waits; it is concluded when its trailers are behind that (alone, as gRPC's Trailers-Only, where there were no
headers), and released when all of it is out, or nobody is there for it any more.
Its client's side is the other half: open, then half-closed, and then its method has been told so.
"""

from collections.abc import Callable
from typing import Final

from sigbridge.disconnects import DisconnectReason
from sigbridge.instant import NEVER, Instant
from sigbridge.share import Share
from sigbridge_grpc.framing import Deframer
from sigbridge_grpc.method import Ending, Method
from sigbridge_net.unfinished import COMING, Unfinished

AWAITING: Final = 0
ACCEPTED: Final = 1
RESPONDING: Final = 2
FINISHED: Final = 3
ENDING: Final = 4
CONCLUDED: Final = 5
GONE: Final = 6

# What follows in each state.
# fmt: off
#                    awaiting  accepted    responding  finished  ending  concluded  gone
ON_ACCEPT: Final =  [ACCEPTED, ACCEPTED,   RESPONDING, FINISHED, ENDING, CONCLUDED, GONE]
ON_RESPOND: Final = [AWAITING, RESPONDING, RESPONDING, ENDING,   ENDING, CONCLUDED, GONE]
ON_FINISH: Final =  [FINISHED, FINISHED,   ENDING,     FINISHED, ENDING, CONCLUDED, GONE]
# fmt: on

OPEN: Final = 0
HALF_CLOSED: Final = 1
HALF_CLOSE_TOLD: Final = 2


class Agenda:
    """The list of what a wire has to look at: calls before the next output, and deadlines when they are due."""

    __slots__ = ("due", "first_touched", "share", "wake")

    def __init__(self, wake: Callable[[], None]) -> None:
        self.wake = wake
        self.due = 0.0
        self.first_touched: StreamCall | None = None
        """The first of the calls to be looked at; each knows the next. Those that are gone are passed by."""
        self.share = Share()
        """The share of one turn that the sessions of all calls have together: they are one client's."""

    def touch(self, call: "StreamCall") -> None:
        """Puts a call on the list of those to be looked at before the next output."""
        if not call.touched:
            call.touched = True
            call.next_touched, self.first_touched = self.first_touched, call

    def rest(self, call: "StreamCall") -> None:
        """Looks at a call in the next turn; see `sigbridge_grpc.method.Call`."""
        self.touch(call)

    def may_respond(self, call: "StreamCall") -> bool:
        """Returns whether a call may make a response now; see `sigbridge_grpc.method.Call`."""
        return True

    def hold(self, call: "StreamCall", size: int) -> None:
        """Counts a response that begins to wait in a call's outbox."""
        call.held += size

    def count_refusal(self, address: str, kind: str, retry_after_ms: int, now: Instant) -> bool:
        """Counts a question that came too soon; see `sigbridge_grpc.method.Call`."""
        return False

    def give_up(self, call: "StreamCall", reason: DisconnectReason, now: Instant) -> None:
        """Ends a call for a message that is not whole, and keeps nothing of that."""


class StreamCall:
    """A call; see `sigbridge_grpc.method.Call` for what its method sees."""

    __slots__ = (
        "_agenda",
        "client_side",
        "credited_early_bytes",
        "deadline",
        "deframer",
        "end_by",
        "ending",
        "held",
        "held_back",
        "method",
        "next_touched",
        "state",
        "stream_id",
        "touched",
        "unacknowledged",
        "unfinished",
        "unsent",
        "unsent_since",
    )

    def __init__(self, agenda: Agenda, stream_id: int, deframer: Deframer) -> None:
        self._agenda = agenda
        self.stream_id = stream_id
        self.deframer = deframer
        self.method: Method | None = None
        """The method, or None while it is being made and when the call is gone."""
        self.state = ACCEPTED
        self.client_side = OPEN
        self.unacknowledged = 0
        """The bytes of its body that have arrived and are not acknowledged."""
        self.unfinished: Unfinished | None = None
        """The account of a message that stayed unfinished after all that came was looked at; None without one."""
        self.credited_early_bytes = 0
        """The bytes of its long message, that is not whole yet, that were acknowledged all the same."""
        self.unsent = 0
        """The bytes of the response that no window had let out when that was last asked."""
        self.unsent_since = 0.0
        """The moment since which these have not become fewer."""
        self.held = 0
        """The bytes of responses without a session that wait in its outbox, or for a window."""
        self.held_back = False
        """True while its method is not ready for the next message."""
        self.deadline: float | None = None
        self.ending: Ending | None = None
        self.end_by: float | None = None
        """The moment until which its client may take what is left to say."""
        self.touched = False
        self.next_touched: StreamCall | None = None

    def wake(self) -> None:
        """Hears that there is something to take, or that the method is ready again."""
        if self.state != GONE:
            if not self.touched:
                self._agenda.touch(self)
            self._agenda.wake()

    @property
    def share(self) -> Share:
        """The share of one turn that the sessions of its client have together."""
        return self._agenda.share

    @property
    def unsent_bytes(self) -> int:
        """The bytes of the response that no window has let out, those in its outbox included."""
        return self.unsent + (0 if self.method is None else self.method.outbox.queued_bytes)

    def rest(self) -> None:
        """Waits for the next turn."""
        self._agenda.rest(self)

    def may_respond(self) -> bool:
        """Returns whether a response may be made now; where not, the call goes on when it may."""
        return self._agenda.may_respond(self)

    def hold(self, size: int) -> None:
        """Counts a response that begins to wait in its outbox."""
        self._agenda.hold(self, size)

    def count_refusal(self, address: str, kind: str, retry_after_ms: int, now: Instant) -> bool:
        """Counts a question that came too soon; returns whether its client floods with these."""
        return self._agenda.count_refusal(address, kind, retry_after_ms, now)

    def last_heard(self) -> float:
        """Returns when part of an unfinished message came; see `sigbridge.session.Session.last_heard`."""
        message = self.unfinished
        if self.held_back or (message is not None and message.state != COMING):
            return NEVER
        return -NEVER if message is None else message.grown_at

    def give_up(self, reason: DisconnectReason, now: Instant) -> None:
        """Ends the call because its unfinished message is too slow or too much."""
        self._agenda.give_up(self, reason, now)

    def finish(self, ending: Ending) -> None:
        """Ends the call, after what is queued; a second end is ignored."""
        if self.ending is None:
            self.ending = ending
            self.state = ON_FINISH[self.state]
            # The next `expire` sets its deadline, also where the carrier cannot write and so takes nothing.
            self._agenda.due = 0.0
            self.wake()
