"""A peer in Python that does what lines say: one thing after the other, in the order in which it was told."""

import asyncio
import json
import traceback
from collections.abc import Coroutine
from typing import Any

from sigbridge.client import Reconnecting, Resumed, SessionLost

SESSION = {Reconnecting: "reconnecting", Resumed: "resumed", SessionLost: "session_lost"}


class PeerOfLines:
    """A peer by its number; its methods that take no private names are the orders."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._posted: asyncio.Queue[Coroutine[Any, Any, None]] = asyncio.Queue()
        self._beside: set[asyncio.Task[None]] = set()
        self.start(self._work())

    def post(self, act: Coroutine[Any, Any, None]) -> None:
        """Does it after all that was posted before."""
        self._posted.put_nowait(act)

    def start(self, act: Coroutine[Any, Any, None]) -> None:
        """Does it beside the rest."""
        task = asyncio.create_task(self._guarded(act))
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    def say(self, said: str, **more: Any) -> None:
        """Tells."""
        print(json.dumps({"peer": self._number, "said": said, **more}), flush=True)  # noqa: T201

    def say_session(self, event: object) -> None:
        """Tells what an event says of the session; nothing where it says something else."""
        if said := SESSION.get(type(event)):
            self.say(said)

    async def _work(self) -> None:
        while True:
            await self._guarded(await self._posted.get())

    async def _guarded(self, act: Coroutine[Any, Any, None]) -> None:
        try:
            await act
        except Exception:  # noqa: BLE001
            self.say("fault", why=traceback.format_exc())
