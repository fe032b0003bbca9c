"""The real thing: two WebRTC peers find each other through the server and exchange bytes over a data channel.

Rule 1: like a scenario it takes clients and never learns the protocol. Rule 2: the bytes travel from peer to peer; the
server sees only the signaling.
"""

import asyncio

from sigbridge import SignalingClient
from sigbridge_compat.rtc_peer import Observer, RtcPeer, stay_on_loopback

GREETING = bytes(range(256))
"""Every byte once: a channel that garbles one is found out."""


async def exchange_bytes(
    caller: SignalingClient,
    callee: SignalingClient,
    *,
    observe_caller: Observer | None = None,
    observe_callee: Observer | None = None,
    timeout_seconds: float = 30.0,
) -> tuple[bytes, bytes]:
    """Lets the announced `caller` call the announced `callee`, sends bytes both ways and hangs up.

    Returns what the callee and what the caller received: `GREETING`, and `GREETING` backwards.

    :raises TimeoutError: if that takes longer than `timeout_seconds`.
    """
    with stay_on_loopback():
        async with (
            asyncio.timeout(timeout_seconds),
            RtcPeer(caller, observe=observe_caller) as alice,
            RtcPeer(callee, observe=observe_callee) as bob,
        ):
            outgoing, incoming = await asyncio.gather(alice.call(callee.peer_id), bob.answer_calls())
            await outgoing.send(GREETING)
            there = await incoming.receive()
            await incoming.send(there[::-1])
            back = await outgoing.receive()
            await alice.hang_up(outgoing)
            # Else the callee may hang up, too, before it has heard of it.
            await incoming.call.ended()
            return there, back
