"""The present place of a process in its code, told on a signal: every thread's traceback, and every task with all that it awaits.

It is for who has to find out why a process does nothing. The threads are told of by the interpreter's own handler, which
does so, too, where the event loop does not run any more; the tasks only where it does.
"""

import asyncio
import faulthandler
import signal
from pathlib import Path
from typing import Any, Final

SIGNAL: Final = signal.SIGUSR1
TASKS_END: Final = "that was every task"


def tell_on_signal(log: Path) -> None:
    """Adds to the log, from now on and at each SIGNAL, where the process and the running loop's tasks stand."""
    loop = asyncio.get_running_loop()
    # As long as the process lives.
    stream = log.open("a", encoding="utf-8")

    def tell() -> None:
        for task in asyncio.all_tasks(loop):
            stream.write("\n    ".join([f"task {task.get_name()}", *_awaited(task.get_coro())]) + "\n")
        stream.write(f"{TASKS_END}\n")
        stream.flush()

    loop.add_signal_handler(SIGNAL, tell)
    # The loop's handler comes after it.
    faulthandler.register(SIGNAL, file=stream, all_threads=True, chain=True)


def _awaited(awaitable: Any) -> list[str]:
    """The places at which a coroutine stands, and what it awaits, the outermost first."""
    places = []
    while awaitable is not None:
        kind = next((kind for kind in ("cr", "ag", "gi") if hasattr(awaitable, f"{kind}_frame")), "")
        frame = getattr(awaitable, f"{kind}_frame", None)
        if frame is None:
            places.append(repr(awaitable))
        else:
            places.append(f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_qualname}")
        awaitable = getattr(awaitable, "gi_yieldfrom" if kind == "gi" else f"{kind}_await", None)
    return places
