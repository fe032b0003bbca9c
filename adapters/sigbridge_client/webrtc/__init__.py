"""Calls between WebRTC peers, for programs with aiortc: they make connections, and negotiate nothing.

    async with await connect(url) as client, Calls(client, build) as calls:
        await client.announce("backend")
        async for call in calls:
            ...

`build(configuration, call)` makes an `RTCPeerConnection`, adds tracks, channels and listeners, and returns it. It is
called again for each new connection of a call: aiortc can neither take an offer back nor restart ICE.

Rule 1: a peer may send anything: that ends its own call at most, and costs bounded memory and work. Rule 2: the reading
of events waits for nothing. Rule 3: every connection that `build` has made is closed, and nobody who waits for that can
interrupt it. Needs the `webrtc` extra (aiortc). Source: `docs/calls.md`.
"""

from sigbridge_client.webrtc.call import Build, Call, CallEnded
from sigbridge_client.webrtc.calls import Calls
from sigbridge_client.webrtc.ends import CallState, EndReason

__all__ = ["Build", "Call", "CallEnded", "CallState", "Calls", "EndReason"]
