"""Checks of the fields of requests; each raises SignalingError that names the field, or the limit.

Source: `docs/protocol.md`, section "What each request does".
"""

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from sigbridge import errors
from sigbridge.messages import Capabilities
from sigbridge.results import BOOLEAN_CAPABILITIES

MAX_ID_BYTES: Final = 256
MAX_OFFER_ID_BYTES: Final = 1000
"""About twice what the ids of offers take that this server gives, whose peers may have the longest of ids."""
MAX_TOKEN_BYTES: Final = 8192
"""The longest token; what a header can carry is about as much."""
MAX_JSON_DEPTH: Final = 32
"""The deepest nesting of metadata and extensions: far above any use, far below what any JSON reader gives up at."""

_CONTROL_CHARACTERS = re.compile("[\x00-\x1f\x7f-\x9f]")
"""Unicode category Cc, whole."""


def check_id(field: str, text: str) -> None:
    """Refuse what is no id of a peer, and no name of a room: 1 to 256 bytes of UTF-8 without control characters."""
    if not text:
        raise errors.invalid_params(field, "is missing")
    if len(text) > MAX_ID_BYTES or (not text.isascii() and len(text.encode()) > MAX_ID_BYTES):
        raise errors.invalid_params(field, f"is longer than {MAX_ID_BYTES} bytes")
    if _CONTROL_CHARACTERS.search(text):
        raise errors.invalid_params(field, "contains control characters")


def check_offer_id(offer_id: str) -> None:
    """Refuse what is no id of an offer: more than 1000 bytes of UTF-8. It is passed on, whatever it says."""
    # No character takes more than four bytes, so what is this short need not be looked at.
    if 4 * len(offer_id) > MAX_OFFER_ID_BYTES and (
        len(offer_id) > MAX_OFFER_ID_BYTES or len(offer_id.encode()) > MAX_OFFER_ID_BYTES
    ):
        raise errors.invalid_params("offer_id", f"is longer than {MAX_OFFER_ID_BYTES} bytes")


def check_token(token: str) -> None:
    """Refuse what is no token: an empty text as a missing field, one above `MAX_TOKEN_BYTES` as a wrong token."""
    if not token:
        raise errors.invalid_params("token", "is missing")
    if len(token) > MAX_TOKEN_BYTES or (not token.isascii() and len(token.encode()) > MAX_TOKEN_BYTES):
        raise errors.unauthenticated()


def check_size(field: str, text: str, limit: str, most: int) -> None:
    """Refuse a text of more than `most` bytes of UTF-8; `limit` is the variable that sets the bound."""
    # No character takes more than four bytes, so what is this short need not be looked at.
    if 4 * len(text) > most and (len(text) > most or (not text.isascii() and len(text.encode()) > most)):
        raise errors.limit_exceeded(f"{field} is too large", limit, most, "send it smaller")


def check_uint32(field: str, number: int) -> None:
    """Refuse what is no unsigned number of 32 bits."""
    if not 0 <= number <= errors.MAX_UINT32:
        raise errors.no_uint32(field)


def check_extensions(capabilities: Capabilities) -> None:
    """Refuse extensions that name a capability which has a field of its own."""
    for name in BOOLEAN_CAPABILITIES:
        if name in capabilities.extensions:
            raise errors.invalid_params("capabilities", f"names {name} among its extensions")


def check_json(field: str, value: dict[str, Any], limit: str, most: int) -> None:
    """Refuse a JSON object that nests too deep, or takes more than `most` bytes as text."""
    if not value:
        return
    if _deeper_than(value, MAX_JSON_DEPTH):
        raise errors.invalid_params(field, f"is nested more than {MAX_JSON_DEPTH} deep")
    if len(msgspec.json.encode(value)) > most:
        raise errors.limit_exceeded(f"{field} is too large", limit, most, "send it smaller")


def _deeper_than(value: object, depth: int) -> bool:
    if isinstance(value, dict):
        inner: Iterable[object] = value.values()
    elif isinstance(value, list):
        inner = value
    else:
        return False
    return depth == 0 or any(_deeper_than(one, depth - 1) for one in inner)
