"""Cost of a relay without sockets: hub and codecs alone, by the functions that the wires call, all features on.

Runs as a process of its own, so that it can have the server's core and a heap of its own:
`python -m sigbridge_bench.without_io PAIRING MESSAGE MESSAGES WARM_UP` prints CPU seconds.
"""

import sys
import time
from collections.abc import Callable

from sigbridge.auth import Credentials, StaticTokens
from sigbridge.hub import Hub
from sigbridge.instant import Instant
from sigbridge.outbox import Outbox
from sigbridge.session import Caller, Session
from sigbridge.settings import Settings
from sigbridge_bench.payloads import hello, relay
from sigbridge_grpc.encoding import FRAMED_PROTOBUF
from sigbridge_grpc.service import SignalingService
from sigbridge_net.clock import read_clock
from sigbridge_websocket.conversation import Conversation
from sigbridge_websocket.encoding import FRAMED_JSON

_TOKEN = "a-token"
_IDS = ("sender", "receiver")
_WRITE_BYTES = 65536

Receive = Callable[[bytes, Instant], object]


def measure(pairing: str, message: str, messages: int, warm_up: int) -> float:
    """Returns CPU seconds for so many relays, without I/O.

    Each is decoded, routed, its reply and event encoded and taken out of their outboxes.

    :raises ValueError: if the pairing or the message does not exist.
    :raises RuntimeError: if a message is not relayed, or a session ends.
    """
    hub = Hub(
        Settings(rate_per_second=1e6, rate_burst=10**6, auth_tokens=(_TOKEN,)),
        read_clock(),
        stopwatch=time.perf_counter,
    )
    protocols = pairing.split("-")
    if message not in ("offer", "candidate") or len(protocols) != 2 or not {"grpc", "websocket"}.issuperset(protocols):
        raise ValueError(f"{pairing} {message} is not to be measured without I/O")
    ends = [_end(hub, protocol) for protocol in protocols]
    for protocol, peer_id, (receive, _) in zip(protocols, _IDS, ends, strict=True):
        receive(hello("grpc" if protocol == "grpc" else "ws", peer_id, "room"), read_clock())
    for _, outbox in ends:
        outbox.take(_WRITE_BYTES)
    data = relay(
        "grpc" if protocols[0] == "grpc" else "ws", "offer" if message == "offer" else "candidate", _IDS[1]
    ).data
    receive, replies = ends[0]
    events = ends[1][1]
    _relay(receive, data, replies, events, warm_up)
    began = time.process_time()
    _relay(receive, data, replies, events, messages)
    return time.process_time() - began


def _relay(receive: Receive, data: bytes, replies: Outbox, events: Outbox, messages: int) -> None:
    """Relays one message so many times, without I/O.

    :raises RuntimeError: if one of them brings other than one response and one event.
    """
    for _ in range(messages):
        receive(data, read_clock())
        if len(replies.take(_WRITE_BYTES)) != 1 or len(events.take(_WRITE_BYTES)) != 1:
            raise RuntimeError("a message was not relayed")


def _end(hub: Hub, protocol: str) -> tuple[Receive, Outbox]:
    """Makes a session of one protocol; returns the function that receives its messages, and its outbox."""
    now = read_clock()
    identity = StaticTokens((_TOKEN,)).authenticate(Credentials(token=_TOKEN), now)
    caller = Caller(identity, "127.0.0.1")
    session: Session
    if protocol == "grpc":
        service = SignalingService(hub, encoding=FRAMED_PROTOBUF)
        session = service.open(caller, _ended, now)
        return (lambda data, now: service.signal(session, data, now)), session.outbox
    session = hub.open("websocket", FRAMED_JSON, _ended, now, caller)
    return Conversation(hub, session, FRAMED_JSON).receive, session.outbox


def _ended(reason: object) -> None:
    raise RuntimeError(f"a session ended: {reason}")


if __name__ == "__main__":
    print(repr(measure(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
