"""`sigbridge peers` and `sigbridge listen`: looking at a server from outside, as any client may."""

import argparse
import asyncio
import json
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec

from sigbridge.client import ClientEvent, SignalingClient
from sigbridge.messages import PeerInfo
from sigbridge.results import peer_info_object
from sigbridge_client import DialectError, connect
from sigbridge_command.access_files import read_access
from sigbridge_command.errors import UsageError
from sigbridge_command.printable import printable
from sigbridge_command.standard_streams import complain

_PAGE = 500
_LONG_TEXT = 40


def print_peers(options: argparse.Namespace) -> int:
    """Prints all peers of a room: on a terminal a table, otherwise JSON, one line each. Returns the exit code, 0."""
    peers = asyncio.run(_peers(options))
    if options.json or not sys.stdout.isatty():
        for peer in peers:
            print(json.dumps(peer_info_object(peer)))
        return 0
    rows = [("PEER", "STATE", "CAPABILITIES", "SINCE")]
    for peer in peers:
        capabilities = [name for name, value in peer_info_object(peer)["capabilities"].items() if value]
        shown = printable(" ".join(capabilities)) or "-"
        rows.append((printable(peer.peer_id), printable(peer.state), shown, _since(peer.connected_at)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def print_events(options: argparse.Namespace) -> int:
    """Prints a peer's events until the connection ends; exit code 1 where the server ended it.

    A client that resumes goes on over connections, and prints what becomes of them.
    """
    return asyncio.run(_listen(options, as_json=options.json or not sys.stdout.isatty()))


async def _peers(options: argparse.Namespace) -> list[PeerInfo]:
    """Returns all peers of a room, for which it asks page by page."""
    async with await _connect(options, resume=False) as client:
        peers: list[PeerInfo] = []
        token = ""
        while True:
            page = await client.list_peers(room=options.room, page_size=_PAGE, page_token=token)
            peers += page.peers
            token = page.next_page_token
            if not token:
                return peers


async def _listen(options: argparse.Namespace, *, as_json: bool) -> int:
    """Announces a peer and prints its events until the connection ends; returns the exit code."""
    async with await _connect(options, resume=options.resume, keepalive_seconds=options.keepalive) as client:
        await client.announce(options.peer_id, room=options.room)
        async for event in client.events():
            print(_json_line(event) if as_json else _line(event), flush=True)
        reason = client.closed.reason if client.closed is not None else "unknown"
        complain(f"sigbridge: connection closed: {reason}")
        return 1


async def _connect(options: argparse.Namespace, **how: Any) -> SignalingClient:
    """Connects to the server that the options name.

    :raises UsageError: if its protocol has no such dialect.
    """
    try:
        return await connect(options.url, dialect=options.dialect, **how, **read_access(options))
    except DialectError as error:
        raise UsageError(f"--dialect is {options.dialect}: {error}") from None


def _since(connected_at: int) -> str:
    """Returns date and time at which a peer came, for people; `-` where the server says none, or no Unix seconds."""
    try:
        moment = datetime.fromtimestamp(connected_at, UTC)
    except (OverflowError, ValueError, OSError):
        return "-"
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC") if connected_at else "-"


def _json_line(event: ClientEvent) -> str:
    return msgspec.json.encode({"event": event.kind, **msgspec.to_builtins(event)}).decode()


def _line(event: ClientEvent) -> str:
    """Returns an event as a line for people, with the length of long texts in their place."""
    fields = {
        name: value if not isinstance(value, str) or len(value) <= _LONG_TEXT else f"{len(value.encode())} bytes"
        for name, value in msgspec.to_builtins(event).items()
    }
    shown = "  ".join(f"{name}={value!r}" for name, value in fields.items())
    return f"{datetime.now(UTC):%H:%M:%S}  {event.kind:<18}{shown}"
