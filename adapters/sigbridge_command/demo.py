"""`sigbridge demo`: a server and two real WebRTC peers, each in its own process, and what passes between them.

Rule 1: everything happens on loopback, on ports that the system chooses. Rule 2: exit code 0 means that bytes came
through the data channel, both ways; with a page (`demo_browser`), that each has heard the other.
"""

import asyncio
import importlib.util
import secrets
import signal
import sys
import time
from contextlib import AsyncExitStack

from sigbridge_command.demo_browser import show_page
from sigbridge_command.demo_flow import Role, heading
from sigbridge_command.demo_processes import NAMES, SCHEMES, SERVE, Child, DemoError, Flow, PeerChild, ServerChild, say
from sigbridge_command.standard_streams import complain

_ROLES: tuple[Role, Role] = ("caller", "callee")
_PAYLOAD_BYTES = 256


def run_demo(pairing: tuple[str, str], *, time_limit_seconds: float = 30.0) -> int:
    """Shows a caller and a callee, on the protocols of `pairing`, connecting through a server of their own.

    The caller may be a `browser`. Returns the exit code: 0 only where the bytes, or the sounds, came through.
    """
    if any(importlib.util.find_spec(name) is None for name in ("aiortc", "aioice")):
        complain("sigbridge demo: needs aiortc: pip install 'sigbridge[demo]'")
        return 1
    try:
        asyncio.run(_demo(pairing, time_limit_seconds))
    except DemoError as error:
        complain(f"sigbridge demo: {error}")
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        complain("sigbridge demo: stopped")
        return 130
    return 0


async def _demo(pairing: tuple[str, str], time_limit_seconds: float) -> None:
    """Shows the demo within a time limit; signals cancel it.

    :raises DemoError: if it fails or takes too long.
    """
    this = asyncio.current_task()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if this is not None:
            asyncio.get_running_loop().add_signal_handler(number, this.cancel)
    caller, callee = pairing
    if caller == "browser":
        # A person takes the time that it takes.
        await show_page(callee)
        return
    try:
        async with asyncio.timeout(time_limit_seconds):
            await _show(pairing)
    except TimeoutError:
        raise DemoError(f"no bytes came through within {time_limit_seconds:g} s") from None


async def _show(pairing: tuple[str, str]) -> None:
    """Starts a server and two peers, and draws what passes until the bytes came through."""
    started_at = time.monotonic()
    async with AsyncExitStack() as processes:
        server = ServerChild("server")
        await processes.enter_async_context(server.running(*SERVE))
        addresses = await server.addresses()
        say(f"server: gRPC on {addresses['grpc']}, WebSocket on {addresses['websocket']}\n")
        say(heading(*(f"{role} ({NAMES[protocol]})" for role, protocol in zip(_ROLES, pairing, strict=True))))
        flow = Flow(started_at)
        peers = [PeerChild(role, flow) for role in _ROLES]
        there, back = secrets.token_hex(_PAYLOAD_BYTES), secrets.token_hex(_PAYLOAD_BYTES)
        for peer, protocol, says, hears in zip(peers, pairing, (there, back), (back, there), strict=True):
            url = f"{SCHEMES[protocol]}://{addresses[protocol]}"
            command = (sys.executable, "-m", "sigbridge_command.demo_peer", peer.name, url)
            await processes.enter_async_context(peer.running(*command, "--says", says, "--hears", hears))
        finished_at = await _all_succeed(peers, server)
        flow.draw_until(finished_at)
    milliseconds = (finished_at - started_at) * 1000
    names = " and ".join(NAMES[protocol] for protocol in pairing)
    say(f"\n{names}: {_PAYLOAD_BYTES} bytes came through each way, {milliseconds:.0f} ms after the start")


async def _all_succeed(peers: list[PeerChild], server: ServerChild) -> float:
    """Waits until both peers have ended well, and returns when the last bytes arrived.

    :raises DemoError: if one ends badly.
    """
    everyone: list[Child] = [*peers, server]
    tasks = [asyncio.create_task(child.succeed()) for child in everyone]
    try:
        arrivals: list[float] = []
        for done in asyncio.as_completed(tasks):
            arrivals.append(await done)
            if len(arrivals) == len(peers):
                break
        return max(arrivals)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
