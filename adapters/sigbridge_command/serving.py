"""`sigbridge serve`: one server, from its start until a signal ends it.

Rule 1: what other programs read (the listening lines) goes to stdout and is flushed; the log goes to stderr. Neither
holds anything up (`standard_streams.py`). Rule 2: the first SIGINT or SIGTERM drains, a second one stops at once;
SIGHUP reads all files again. Where one came while the program was loaded, nothing is begun. Rule 3: what
concerns the whole process is decided here, as the process is ours: when its garbage is looked for, and how many
descriptors it may have.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Mapping

from sigbridge.settings import Settings, unknown_variables
from sigbridge_command.early_signals import noted_signal
from sigbridge_command.inherited import inherited_sockets
from sigbridge_command.sources import Files, origins_of
from sigbridge_command.standard_streams import close_streams
from sigbridge_server.descriptors import raise_descriptor_limit
from sigbridge_server.garbage import GarbageWatch
from sigbridge_server.logs import configure_logging
from sigbridge_server.server import Server

logger = logging.getLogger("sigbridge.server")

_NAMES = {"grpc": "gRPC", "ws": "WebSocket", "http": "HTTP"}


def serve(settings: Settings, environ: Mapping[str, str], files: Files) -> int:
    """Serves until told to stop; returns the exit code. Of the `files` some counts without a restart."""
    configure_logging(settings)
    raise_descriptor_limit()
    for name, meant in unknown_variables(environ).items():
        extra = {"variable": name, "meant": meant} if meant else {"variable": name}
        logger.warning("unknown setting in the environment", extra=extra)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve_until_told(settings, files))
    return 0


async def _serve_until_told(settings: Settings, files: Files) -> None:
    """Starts a server, and drains and stops it on a signal; a second signal stops it at once."""
    loop = asyncio.get_running_loop()
    told: asyncio.Queue[str] = asyncio.Queue()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.put_nowait, number.name)
    noted = noted_signal()
    if noted is not None:
        logger.info("stopped before the start", extra={"signal": noted})
        _ignore_signals(loop)
        return
    server = Server(settings, inherited=inherited_sockets(os.environ))
    loop.add_signal_handler(signal.SIGHUP, server.reload)
    origins = origins_of(files, server.origins.list_instead)
    if origins is not None:
        server.watch(origins)
    await server.start()
    garbage = GarbageWatch(server.census)
    garbage.start()
    for name, addresses in server.addresses.items():
        for address in addresses:
            print(f"{_NAMES[name]} listening on {address}", flush=True)
    logger.info("draining", extra={"signal": await told.get(), "grace_seconds": settings.shutdown_grace_seconds})
    stopping = asyncio.create_task(server.stop())
    again = asyncio.create_task(told.get())
    await asyncio.wait((stopping, again), return_when=asyncio.FIRST_COMPLETED)
    ended = stopping.done() and stopping.result()
    if not stopping.done():
        logger.info("stopping at once", extra={"signal": again.result()})
        stopping.cancel()
        await asyncio.gather(stopping, return_exceptions=True)
        ended = await server.stop(grace_seconds=0)
    again.cancel()
    garbage.stop()
    _ignore_signals(loop)
    logger.info("stopped")
    if not ended:
        # A stopped client holds a connection of grpc's, for whose end the interpreter would wait.
        close_streams()
        os._exit(0)


def _ignore_signals(loop: asyncio.AbstractEventLoop) -> None:
    """Ignores signals from here on: one that comes during an orderly end must not make a failure of it.

    A signal that has a handler gets its default back when the interpreter ends, and SIGHUP would kill then.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)


def _loop_factory() -> "type[asyncio.AbstractEventLoop] | None":
    """Returns uvloop's class of event loops, or None if uvloop is not installed."""
    try:
        import uvloop
    except ImportError:  # not available on this platform
        return None
    return uvloop.Loop
