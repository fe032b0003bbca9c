"""Feeds WebSocket's opening handshake requests that nobody meant: the fast path must agree with the library.

`python tests/fuzz/fuzz_websocket_handshake.py -max_total_time=60` fuzzes with atheris; `play` is one run of any input.
"""

import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[1] / "shared"))
    import fuzzing

    # The library's branches too: where it begins to see things differently, ours has to.
    with fuzzing.instrumenting(
        "sigbridge_net.credentials",
        "sigbridge_websocket.credentials",
        "sigbridge_websocket.handshake",
        "sigbridge_websocket.negotiation",
        "sigbridge_websocket.upgrade",
        "websockets.headers",
        "websockets.http11",
        "websockets.server",
    ):
        import sigbridge_websocket.wire  # noqa: F401

from instructions import instructions
from logged_errors import objecting
from sigbridge import Settings
from websocket_handshakes import (
    BROWSER,
    ORDINARY,
    ORIGIN,
    REPLACEMENTS,
    REQUEST_LINES,
    Anybody,
    Witness,
    handshake,
    pieces,
)
from websocket_lines import LIST, masked

SETTINGS = [
    Settings(websocket_compression=compression, allowed_origins=origins, max_message_bytes=2000)
    for compression in (False, True)
    for origins in ((), (ORIGIN,))
]
_NAMES = list(REPLACEMENTS)
_CASES = (str, str, str.lower, str.upper)
_SEPARATORS = (": ", ":", ":  ", ":\t", " : ", "", ":\x0b")
_ENDS = ("\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "\r\r\n", "\r\n ", "\r\n\t")
_FOLLOWING = (masked(9, b"hi"), masked(1, LIST % 1), b"garbage", masked(8, b""), b"\r\n", masked(1, LIST % 2)[:-1])


def play(data: bytes) -> None:
    """Takes the bytes for a request, or for instructions that write one; the first says which, and to whom it comes."""
    first = data[0] if data else 0
    if first & 0x80:
        edges = [edge for edge in data[1:3] if first & 0x40]
        head, following = data[3:], b""
    else:
        head, following, edges = _written(data[1:])
    whole = head + following
    parts = pieces(whole, edges)
    if not parts:
        return
    with objecting():
        ours = _outcome(parts, first, ours=True)
        librarys = _outcome(parts, first, ours=False)
        assert ours == librarys
        at_once = _outcome([whole], first, ours=False)
    assert _whatever_the_pieces(ours) == _whatever_the_pieces(at_once)


def _whatever_the_pieces(outcome: Any) -> Any:
    """Returns what of an outcome is the same in any pieces: a refusal's words may name a size, and pongs overtake."""
    said, *rest = outcome
    status, _, more = said.partition(b"\r\n")
    return status, sorted(more) if status.startswith(b"HTTP/1.1 101 ") else None, rest


def _outcome(parts: list[bytes], first: int, *, ours: bool) -> Any:
    door = (Witness, Anybody)[first >> 2 & 1]()
    outcome, without_library = handshake(parts, SETTINGS[first & 3], door, draining=first & 0x18 == 0x18, ours=ours)
    assert ours or not without_library
    return outcome


def _written(data: bytes) -> tuple[bytes, bytes, list[int]]:  # noqa: C901 - one turn for each thing that can be written
    """Returns a request, what follows it, and where both are cut."""
    first_line = REQUEST_LINES[0]
    fields = [(name, ": ", value, "\r\n") for name, value in ORDINARY.items()]
    following = b""
    edges: list[int] = []
    near_end: list[int] = []
    damages: list[tuple[int, bytes]] = []
    for kind, choice, length, payload in instructions(data, longest=32):
        name = _NAMES[choice % len(_NAMES)]
        text = payload.decode("latin-1")
        place = choice % (len(fields) + 1)
        match kind % 16:
            case 0 | 1 | 2:
                # In the place of the usual one, or beside it.
                values = REPLACEMENTS[name]
                fields = [field for field in fields if field[0] != name or kind & 0x80]
                fields.append((name, ": ", values[length % len(values)], "\r\n"))
            case 3:
                fields = [field for field in fields if field[0] != name or kind & 0x80]
                fields.insert(place % (len(fields) + 1), (name, ": ", text, "\r\n"))
            case 4:
                fields.insert(place, (text, ": ", "x", "\r\n"))
            case 5 if fields:
                del fields[choice % len(fields)]
            case 6 if fields:
                at = choice % len(fields)
                name, separator, value, end = fields[at]
                fields[at] = (_CASES[length & 3](name), separator, value, end)
            case 7 if fields:
                at = choice % len(fields)
                name, separator, value, end = fields[at]
                fields[at] = (name, _SEPARATORS[length % len(_SEPARATORS)], value, _ENDS[kind >> 4 & 7])
            case 8 if fields:
                fields.insert(place, fields.pop(length % len(fields)))
            case 9:
                first_line = REQUEST_LINES[choice % len(REQUEST_LINES)]
            case 10:
                first_line = f"GET {text} HTTP/1.1" if choice & 1 else text
            case 11 if choice < 64:
                fields = [(name, ": ", value, "\r\n") for name, value in BROWSER.items()]
            case 12:
                damages.append((choice * 4 + length, payload))
            case 13:
                following += _FOLLOWING[choice % len(_FOLLOWING)] if choice & 0x80 else payload
            case 14 if choice & 0x80:
                near_end.append(length % 8 - 4)
            case 14:
                edges.append(choice * 4 + length)
            case 15 if choice < 16:
                fields.append(("Cookie", ": ", "x" * (length * 40), "\r\n"))
            case 15 if choice < 32:
                fields += [(f"X-{number}", ":", "", "\r\n") for number in range(length)]
            case _:
                pass
    lines = "".join(name + separator + value + end for name, separator, value, end in fields)
    head = f"{first_line}\r\n{lines}\r\n".encode("latin-1", "replace")
    for place, damage in damages:
        at = place % len(head)
        head = head[:at] + damage + head[at + 1 :]
    return head, following, edges + [max(0, len(head) + place) for place in near_end]


if __name__ == "__main__":
    fuzzing.fuzz(play)
