"""Pages of a room, and the tokens by which a caller asks for the next one.

A page token names the incarnation after which the page begins, so that peers who come and go meanwhile neither repeat
nor hide others.
"""

import base64
import binascii
from collections.abc import Collection

from sigbridge import errors
from sigbridge.messages import PeerList
from sigbridge.session import Peer


def page_of(peers: Collection[Peer], after: int, most_peers: int, most_bytes: int) -> tuple[PeerList, int]:
    """Returns a page of the peers whose incarnation is above `after`, and about how many bytes it takes.

    It has at most `most_peers`, and about `most_bytes`, but at least one peer; and the token of the next page, if there
    is one.
    """
    page: list[Peer] = []
    size = 0
    more = False
    for peer in peers:
        if peer.incarnation <= after:
            continue
        if page and (len(page) == most_peers or size + peer.listed_bytes > most_bytes):
            more = True
            break
        size += peer.listed_bytes
        page.append(peer)
    token = page_token(page[-1].incarnation) if more else ""
    return PeerList(tuple(peer.info for peer in page), len(peers), token), size


def page_token(incarnation: int) -> str:
    """Returns the token of the page that begins after this incarnation."""
    return base64.urlsafe_b64encode(b"after:%d" % incarnation).decode().rstrip("=")


def token_incarnation(token: str) -> int:
    """Returns the incarnation after which the page of a token begins; 0 for the empty token of the first page.

    :raises SignalingError: INVALID_ARGUMENT for a token that is not ours.
    """
    if not token:
        return 0
    try:
        word, _, number = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).partition(b":")
        if word == b"after" and number.isdigit() and len(number) < 20:
            return int(number)
    except (binascii.Error, ValueError):
        pass
    raise errors.invalid_params("page_token", "is none that this server gave")
