"""The backlog of unary calls on a `grpc.aio.Server`: what is carried out and not finished, by connection.

Rule 1: the bounds, and who goes on when, are those of `backlog.py`; a response waits until its call has ended, since
the library says nothing of what it has written before. Rule 2: a call that waits is carried out where something leaves,
and never when it has been cancelled or timed out. Rule 3: of what there is to do, a little is done in one turn.
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import grpc.aio

from sigbridge.settings import Settings
from sigbridge_grpc.backlog import Backlog, TotalBacklog
from sigbridge_grpc.turns import TurnBudget

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, bytes]"


class _WaitingCall:
    """A call that waits: how it is carried out, and who is told what came of it."""

    __slots__ = ("context", "outcome", "respond")

    def __init__(self, context: _Context, respond: Callable[[], bytes]) -> None:
        self.context = context
        self.respond = respond
        self.outcome: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()


class UnaryBacklog:
    """The unary calls of one server."""

    def __init__(self, settings: Settings) -> None:
        self._total = TotalBacklog(settings)
        self._backlogs: dict[str, Backlog[_WaitingCall]] = {}
        """The backlogs that hold something, or let calls wait, by the connection's remote address and port."""
        self._turn = TurnBudget()
        self._resting: dict[str, None] = {}
        """The connections whose calls wait for the next turn of the loop."""

    @property
    def held(self) -> int:
        """The bytes of responses whose calls have not ended yet."""
        return self._total.held

    @property
    def waiting_count(self) -> int:
        """The number of calls that wait."""
        return sum(len(backlog.waiting) for backlog in self._backlogs.values())

    async def carry_out(self, context: _Context, respond: Callable[[], bytes]) -> bytes:
        """Returns `respond()`, or raises what it raises, as soon as there is room for a response."""
        peer = context.peer()
        backlog = self._backlogs.get(peer)
        if backlog is None:
            backlog = self._backlogs[peer] = Backlog(self._total, lambda: self._wake(peer))
        call = _WaitingCall(context, respond)
        spent = not self._turn.may_respond()
        if backlog.may_respond(call, spent=spent):
            self._carry_out(peer, backlog, call)
        elif spent:
            self._resting[peer] = None
        try:
            return await call.outcome
        finally:
            backlog.forget(call)
            self._forget_if_idle(peer, backlog)

    def _wake(self, peer: str) -> None:
        """Lets a connection go on in the next turn."""
        asyncio.get_running_loop().call_soon(self._go_on, peer)

    def _go_on(self, peer: str) -> None:
        """Carries out calls of a connection, as far as there is room, and time in this turn."""
        backlog = self._backlogs.get(peer)
        if backlog is None:
            return
        while self._turn.may_respond():
            call = backlog.next_waiting()
            if call is None:
                break
            self._carry_out(peer, backlog, call)
        backlog.end_turn()
        if backlog.waiting and not self._turn.may_respond():
            self._resting[peer] = None

    def _carry_out(self, peer: str, backlog: Backlog[_WaitingCall], call: _WaitingCall) -> None:
        """Makes the response of a call, and holds it in the backlog until the call has ended."""
        if call.outcome.done():
            # It was cancelled in this turn, and is not forgotten yet.
            return
        try:
            message = call.respond()
        except Exception as error:  # noqa: BLE001 - the call's own task hears of it
            call.outcome.set_exception(error)
            return
        size = len(message)
        backlog.hold(size)
        if not self._turn.was_used:
            asyncio.get_running_loop().call_soon(self._begin_turn)
        self._turn.count_response(size)
        # The stubs want a class of their own there.
        call.context.add_done_callback(cast(Any, lambda _: self._finish(peer, backlog, size)))
        call.outcome.set_result(message)

    def _finish(self, peer: str, backlog: Backlog[_WaitingCall], size: int) -> None:
        """Gives back the bytes of a response whose call has ended; other calls go on."""
        backlog.give_back(size)
        self._go_on(peer)
        self._forget_if_idle(peer, backlog)

    def _forget_if_idle(self, peer: str, backlog: Backlog[_WaitingCall]) -> None:
        """Forgets a connection without responses and waiting calls."""
        if not backlog.held and not backlog.waiting and self._backlogs.get(peer) is backlog:
            del self._backlogs[peer]

    def _begin_turn(self) -> None:
        """Begins a turn: the connections that rest go on, each with calls that wait."""
        self._turn.begin()
        resting, self._resting = self._resting, {}
        for peer in resting:
            self._go_on(peer)
