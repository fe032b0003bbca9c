"""One hub and its ways in, put together: what `sigbridge serve` runs, and what tests start in-process.

Rule 1: nothing is half-started: where one address cannot be had, the others are given back. Rule 2: a stop tells
everybody `draining`, waits for those who answer, and is over within its grace whatever clients do.
"""

import asyncio
from pathlib import Path

import grpc
import grpc.aio

from sigbridge.elsewhere import Bus, Directory
from sigbridge.hub import Hub
from sigbridge.settings import Settings, parse_address
from sigbridge_grpc.mount import MountedSignaling, add_signaling, server_options
from sigbridge_net.carrier import Carrier, ListenError
from sigbridge_net.clock import HubTimer, read_clock
from sigbridge_net.tls import server_context
from sigbridge_websocket.wire import websocket_wires


class Server:
    """A signaling server on one gRPC and one WebSocket address."""

    grpc_port: int
    """The port that gRPC listens on; known after `start`."""

    websocket_port: int
    """The port that WebSocket listens on; known after `start`."""

    def __init__(self, settings: Settings, *, directory: Directory | None = None, bus: Bus | None = None) -> None:
        self.settings = settings
        self.hub = Hub(settings, read_clock(), directory=directory, bus=bus)
        self._timer = HubTimer(self.hub)
        self._carrier = Carrier(settings)
        self._grpc: grpc.aio.Server | None = None
        self._mounted: MountedSignaling | None = None

    async def start(self) -> None:
        """Listen on both addresses.

        Raises ListenError where one of them is not to be had, SettingError where a certificate is no good; nothing is
        listening then.
        """
        settings = self.settings
        tls = server_context(settings)
        server = grpc.aio.server(options=server_options(settings))
        self._mounted = add_signaling(server, self.hub, run_timer=False)
        self.grpc_port = _add_grpc_port(server, settings)
        try:
            self.websocket_port = await self._carrier.listen(
                settings.ws_bind_address, websocket_wires(self.hub), tls=tls
            )
            await server.start()
        except BaseException:
            await server.stop(0)
            await self._carrier.close(0)
            raise
        self._grpc = server
        self._timer.start()

    async def stop(self, *, grace_seconds: float | None = None) -> None:
        """Tell everybody `draining` and end, within `grace_seconds` (the setting, where it is not given)."""
        grace = self.settings.shutdown_grace_seconds if grace_seconds is None else grace_seconds
        await self._carrier.stop_listening()
        self.hub.drain(read_clock())
        await asyncio.gather(self._carrier.close(grace), self._stop_grpc(grace))
        self._timer.stop()

    async def _stop_grpc(self, grace: float) -> None:
        if self._grpc is None or self._mounted is None:
            return
        # Streams end by themselves, but for those whose clients do not read; these the server cuts.
        await self._mounted.drain(grace)
        await self._grpc.stop(0)


def _add_grpc_port(server: grpc.aio.Server, settings: Settings) -> int:
    host, port = parse_address(settings.grpc_bind_address)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if not settings.tls_cert_file:
            return int(server.add_insecure_port(address))
        credentials = grpc.ssl_server_credentials(
            [(Path(settings.tls_key_file).read_bytes(), Path(settings.tls_cert_file).read_bytes())]
        )
        return int(server.add_secure_port(address, credentials))
    except RuntimeError:
        raise ListenError(f"cannot listen on {settings.grpc_bind_address}: address in use or not available") from None
