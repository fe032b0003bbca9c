"""Messages of control: between a peer that answers in results and a caller whose last offer of that kind was to it.

Only sessions whose encoding takes them are told; to all others it is as if they were not there. Where the two are on
different nodes, each node asks of its own peer what it knows.
"""

from typing import Final

from sigbridge import errors
from sigbridge.checks import check_id, check_json, is_control_name
from sigbridge.instant import Instant
from sigbridge.messages import Control, ControlReceived, ControlRelayed, Reply
from sigbridge.pending import Pending
from sigbridge.rules.relay import Relay, RelayRules
from sigbridge.session import Peer, Session
from sigbridge.settings import Settings

EVENT: Final = "event"
"""The name of what an answerer sends a caller, whom its params name."""


class ControlRule:
    """The rule of `control.…`."""

    def __init__(self, settings: Settings, relays: RelayRules) -> None:
        self._answerers = frozenset(settings.answer_in_result)
        self._relays = relays

    def control(self, session: Session, request: Control, now: Instant) -> Reply | Pending[Reply]:
        """Relays a message of control, with its params as they are.

        :raises SignalingError: NOT_FOUND if nobody is there to take it.
        """
        if not is_control_name(request.name):
            raise errors.invalid_params("method", "must be control. and 1 to 64 letters, digits, _, . or -")
        check_json("params", request.params, "SIGNALING_MAX_CANDIDATE_BYTES", self._relays.max_candidate_bytes)
        sender = self._relays.sender_of(session, "")
        event = ControlReceived(request.name, sender.peer_id, request.params)
        to = self._named_caller(event)
        if to is not None:
            check_id("to", to)
        elif sender.called is None:
            raise errors.nobody_to_control()
        else:
            to = sender.called[0]
            if not _has_called(sender, to):
                raise errors.peer_not_found(to)
        target = sender.room.peers.get(to)
        if target is not None:
            self.check_takes(target, event)
        return self._relays.send(session, Relay(sender, to, target, event, ControlRelayed()), now)

    def check_takes(self, target: Peer, event: ControlReceived) -> None:
        """Checks that a peer is told of a message of control.

        :raises SignalingError: NOT_FOUND if it is not.
        """
        session = target.session
        takes = session is not None and session.encoding.takes_control
        if not takes or (self._named_caller(event) is not None and not _has_called(target, event.from_peer_id)):
            raise errors.peer_not_found(target.peer_id)

    def _named_caller(self, event: ControlReceived) -> str | None:
        """Returns the caller that an answerer names in its message; `None` where this is one of a caller."""
        if event.name != EVENT or event.from_peer_id not in self._answerers:
            return None
        to = event.params.get("to")
        return to if isinstance(to, str) else None


def _has_called(caller: Peer, answerer_id: str) -> bool:
    """Returns whether the last offer of a caller was to that answerer, and to no former peer of that id."""
    if caller.called is None:
        return False
    peer_id, incarnation = caller.called
    answerer = caller.room.peers.get(answerer_id)
    return peer_id == answerer_id and (answerer is None or incarnation in (0, answerer.incarnation))
