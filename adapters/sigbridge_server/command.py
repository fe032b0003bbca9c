"""The `sigbridge` command.

Rule 1: a user's mistake is one line on stderr and exit code 1, never a traceback. Rule 2: what other programs read (the
listening lines) goes to stdout and is flushed; the log goes to stderr.
"""

import argparse
import asyncio
import dataclasses
import logging
import os
import signal
import sys
from collections.abc import Sequence

from sigbridge import __version__
from sigbridge.settings import SettingError, Settings
from sigbridge_net.carrier import ListenError
from sigbridge_server.logs import configure_logging
from sigbridge_server.server import Server

logger = logging.getLogger("sigbridge.server")

PROTOCOLS = ("grpc", "websocket")
PAIRINGS = tuple(f"{caller}-{callee}" for caller in PROTOCOLS for callee in PROTOCOLS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (SettingError, ListenError) as error:
        print(f"sigbridge: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sigbridge",
        description="A WebRTC signaling server with one hub and two protocols: gRPC and WebSocket JSON-RPC 2.0.",
    )
    parser.add_argument("--version", action="version", version=f"sigbridge {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    serve = commands.add_parser(
        "serve",
        help="serve both protocols",
        description="Serve gRPC and WebSocket until SIGINT or SIGTERM. Settings come from the environment; "
        "docs/settings.md lists them.",
    )
    serve.add_argument("--grpc", metavar="HOST:PORT", help="where gRPC listens (GRPC_BIND_ADDRESS)")
    serve.add_argument("--ws", metavar="HOST:PORT", help="where WebSocket listens (WS_BIND_ADDRESS)")
    serve.add_argument(
        "--http", metavar="HOST:PORT", help="where metrics and health are served, or off (HTTP_BIND_ADDRESS)"
    )
    serve.set_defaults(run=_serve)

    demo = commands.add_parser(
        "demo",
        help="connect two real WebRTC peers through a server of its own",
        description="Start a server and two WebRTC peers, each in its own process, on loopback; print what passes "
        "between them; exit 0 only if bytes came through the data channel.",
    )
    demo.add_argument(
        "--pairing", choices=PAIRINGS, default="grpc-websocket", help="the caller's and the callee's protocol"
    )
    demo.set_defaults(run=_demo)
    return parser


def _serve(options: argparse.Namespace) -> int:
    settings = Settings.from_environment()
    given = {
        "grpc_bind_address": options.grpc,
        "ws_bind_address": options.ws,
        "http_bind_address": options.http,
    }
    settings = dataclasses.replace(settings, **{name: value for name, value in given.items() if value})
    configure_logging(settings)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve_until_told(settings))
    return 0


async def _serve_until_told(settings: Settings) -> None:
    loop = asyncio.get_running_loop()
    told: asyncio.Queue[str] = asyncio.Queue()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.put_nowait, number.name)
    server = Server(settings)
    await server.start()
    loop.add_signal_handler(signal.SIGHUP, _reload_certificates, server)
    for name, address, port in (
        ("gRPC", settings.grpc_bind_address, server.grpc_port),
        ("WebSocket", settings.ws_bind_address, server.websocket_port),
        ("HTTP", settings.http_bind_address, server.http_port),
    ):
        if port is not None:
            print(f"{name} listening on {address.rpartition(':')[0] or '0.0.0.0'}:{port}", flush=True)
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
    logger.info("stopped")
    if not ended:
        # A stopped client holds a connection of grpc's, for whose end the interpreter would wait.
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)


def _reload_certificates(server: Server) -> None:
    try:
        server.reload_certificates()
    except SettingError as error:
        logger.error("certificates are not reloaded: %s", error)
    else:
        logger.info("certificates are reloaded")


def _loop_factory() -> "type[asyncio.AbstractEventLoop] | None":
    try:
        import uvloop
    except ImportError:  # not available on this platform
        return None
    return uvloop.Loop


def _demo(options: argparse.Namespace) -> int:
    from sigbridge_server.demo import run_demo

    caller, callee = options.pairing.split("-")
    return run_demo((caller, callee))


if __name__ == "__main__":
    sys.exit(main())
