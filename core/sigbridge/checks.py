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

_CONTROL_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def check_id(field: str, text: str) -> None:
    """Checks an id of a peer or a name of a room: 1 to 256 bytes of UTF-8 without control characters.

    :raises SignalingError: INVALID_ARGUMENT, naming `field`, if it is none.
    """
    if not text:
        raise errors.invalid_params(field, "is missing")
    if len(text) > MAX_ID_BYTES or (not text.isascii() and len(text.encode()) > MAX_ID_BYTES):
        raise errors.invalid_params(field, f"is longer than {MAX_ID_BYTES} bytes")
    if _CONTROL_CHARACTERS.search(text):
        raise errors.invalid_params(field, "contains control characters")


def is_control_name(name: str) -> bool:
    """Returns whether a message of control may have this name."""
    return _CONTROL_NAME.fullmatch(name) is not None


def check_offer_id(offer_id: str) -> None:
    """Checks the length of an offer's id, at most 1000 bytes of UTF-8; its content is passed on as it is.

    :raises SignalingError: INVALID_ARGUMENT if it is longer.
    """
    # No character takes more than four bytes, so what is this short need not be looked at.
    if 4 * len(offer_id) > MAX_OFFER_ID_BYTES and (
        len(offer_id) > MAX_OFFER_ID_BYTES or len(offer_id.encode()) > MAX_OFFER_ID_BYTES
    ):
        raise errors.invalid_params("offer_id", f"is longer than {MAX_OFFER_ID_BYTES} bytes")


def check_token(token: str) -> None:
    """Checks the length of a token.

    :raises SignalingError: INVALID_ARGUMENT if it is empty; UNAUTHENTICATED if it has more than `MAX_TOKEN_BYTES`.
    """
    if not token:
        raise errors.invalid_params("token", "is missing")
    if len(token) > MAX_TOKEN_BYTES or (not token.isascii() and len(token.encode()) > MAX_TOKEN_BYTES):
        raise errors.unauthenticated()


def check_size(field: str, text: str, limit: str, most: int) -> None:
    """Checks that a text has at most `most` bytes of UTF-8; `limit` is the variable that sets the bound.

    :raises SignalingError: RESOURCE_EXHAUSTED if it has more.
    """
    # No character takes more than four bytes, so what is this short need not be looked at.
    if 4 * len(text) > most and (len(text) > most or (not text.isascii() and len(text.encode()) > most)):
        raise errors.limit_exceeded(f"{field} is too large", limit, most, "send it smaller")


def check_uint32(field: str, number: int) -> None:
    """Checks that a number is an unsigned integer of 32 bits.

    :raises SignalingError: INVALID_ARGUMENT if it is not.
    """
    if not 0 <= number <= errors.MAX_UINT32:
        raise errors.no_uint32(field)


def check_extensions(capabilities: Capabilities) -> None:
    """Checks that extensions name no capability that has a field of its own.

    :raises SignalingError: INVALID_ARGUMENT if one does.
    """
    for name in BOOLEAN_CAPABILITIES:
        if name in capabilities.extensions:
            raise errors.invalid_params("capabilities", f"names {name} among its extensions")


def check_json(field: str, value: dict[str, Any], limit: str, most: int) -> None:
    """Checks the nesting of a JSON object, and that it takes at most `most` bytes as text.

    :raises SignalingError: INVALID_ARGUMENT if it nests too deep; RESOURCE_EXHAUSTED if it is too large.
    """
    if not value:
        return
    if _deeper_than(value, MAX_JSON_DEPTH):
        raise errors.invalid_params(field, f"is nested more than {MAX_JSON_DEPTH} deep")
    if len(msgspec.json.encode(value)) > most:
        raise errors.limit_exceeded(f"{field} is too large", limit, most, "send it smaller")


def _deeper_than(value: object, depth: int) -> bool:
    """Returns whether a JSON value nests more than `depth` objects and arrays."""
    if isinstance(value, dict):
        inner: Iterable[object] = value.values()
    elif isinstance(value, list):
        inner = value
    else:
        return False
    return depth == 0 or any(_deeper_than(one, depth - 1) for one in inner)
