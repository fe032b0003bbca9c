"""The TypeScript client as web pages load it: ES modules, which the ports of clients serve where that is set.

One is the client, the other one makes calls by way of it. Rule 1: they are public code, and need no token; pages of any
origin may load them, whatever origins may connect. Rule 2: each is read once, so that each response is the same bytes.
Source: `clients/typescript/`, of which they are made.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sigbridge.settings import SettingError
from sigbridge_net.pages import Page, Pages

FOLDER: Final = Path(__file__).parent
CLIENT_PATHS: Final = ("/sigbridge.js", "/sigbridge-call.js")
"""Paths of the scripts, each with the name of its file."""


def client_pages() -> Pages:
    """Returns the pages that hold the client.

    :raises SettingError: if one was not installed.
    """
    return {path: _script(FOLDER / path.removeprefix("/")) for path in CLIENT_PATHS}


def _script(file: Path) -> Callable[[], Page]:
    try:
        script = file.read_bytes()
    except OSError as error:
        raise SettingError(f"SIGNALING_SERVE_CLIENT is true, and {file} cannot be read: {error.strerror}") from None
    page = Page(
        200,
        script,
        content_type="text/javascript; charset=utf-8",
        headers=[("access-control-allow-origin", "*"), ("x-content-type-options", "nosniff")],
        etag=f'"{hashlib.sha256(script).hexdigest()[:32]}"',
    )
    return lambda: page
