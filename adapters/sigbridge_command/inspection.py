"""`sigbridge peers` and `sigbridge listen`: looking at a server from outside, as any client may."""

import argparse
import asyncio
import json
import sys
from datetime import UTC, datetime

import msgspec

from sigbridge.client import SignalingClient
from sigbridge.messages import Event, PeerInfo
from sigbridge.results import peer_info_object
from sigbridge_client import connect
from sigbridge_command.access_files import read_access
from sigbridge_command.standard_streams import complain

_PAGE = 500
_LONG_TEXT = 40


def print_peers(options: argparse.Namespace) -> int:
    """Print the peers of a room, page by page."""
    peers = asyncio.run(_peers(options))
    if options.json or not sys.stdout.isatty():
        for peer in peers:
            print(json.dumps(peer_info_object(peer)))
        return 0
    rows = [("PEER", "STATE", "CAPABILITIES", "SINCE")]
    for peer in peers:
        capabilities = [name for name, value in peer_info_object(peer)["capabilities"].items() if value]
        since = datetime.fromtimestamp(peer.connected_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        rows.append((_harmless(peer.peer_id), peer.state, _harmless(" ".join(capabilities)) or "-", since))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def print_events(options: argparse.Namespace) -> int:
    """Print a peer's events until the connection ends; exit code 1 where the server ended it."""
    return asyncio.run(_listen(options, as_json=options.json or not sys.stdout.isatty()))


async def _peers(options: argparse.Namespace) -> list[PeerInfo]:
    async with await connect(options.url, **read_access(options)) as client:
        peers: list[PeerInfo] = []
        token = ""
        while True:
            page = await client.list_peers(room=options.room, page_size=_PAGE, page_token=token)
            peers += page.peers
            token = page.next_page_token
            if not token:
                return peers


async def _listen(options: argparse.Namespace, *, as_json: bool) -> int:
    client: SignalingClient
    async with await connect(options.url, **read_access(options)) as client:
        await client.announce(options.peer_id, room=options.room)
        async for event in client.events():
            print(_json_line(event) if as_json else _line(event), flush=True)
        reason = client.closed.reason if client.closed is not None else "unknown"
        complain(f"sigbridge: connection closed: {reason}")
        return 1


def _harmless(text: str) -> str:
    """The text without what would steer a terminal: names are what clients say."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _json_line(event: Event) -> str:
    return msgspec.json.encode({"event": event.kind, **msgspec.to_builtins(event)}).decode()


def _line(event: Event) -> str:
    fields = {
        name: value if not isinstance(value, str) or len(value) <= _LONG_TEXT else f"{len(value.encode())} bytes"
        for name, value in msgspec.to_builtins(event).items()
    }
    shown = "  ".join(f"{name}={value!r}" for name, value in fields.items())
    return f"{datetime.now(UTC):%H:%M:%S}  {event.kind:<18}{shown}"
