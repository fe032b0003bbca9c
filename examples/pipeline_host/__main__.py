"""`python -m pipeline_host`: serve until SIGINT or SIGTERM, with the settings of the environment."""

import asyncio
import logging
import os
import signal
import sys

from pipeline_host.host import PipelineHost
from sigbridge import SettingError, Settings
from sigbridge_net.errors import ListenError
from sigbridge_server.logs import configure_logging


async def serve(settings: Settings) -> None:
    """Runs a host until a signal tells it to end."""
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    host = PipelineHost(settings)
    await host.start()
    for name, address, port in (
        ("gRPC", settings.grpc_bind_address, host.grpc_port),
        ("HTTP", settings.http_bind_address, host.http_port),
    ):
        if port is not None:
            # What other programs read goes to stdout; the log goes to stderr.
            print(f"{name} listening on {address.rpartition(':')[0] or '*'}:{port}", flush=True)
    await told.wait()
    if not await host.stop():
        # The interpreter would wait for threads and connections that do not end.
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)


def main() -> int:
    """Reads the settings and serves; a wrong one, or an address that is taken, is one line on stderr."""
    try:
        settings = Settings.from_environment()
        configure_logging(settings)
        asyncio.run(serve(settings))
    except (SettingError, ListenError) as error:
        print(f"pipeline_host: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
