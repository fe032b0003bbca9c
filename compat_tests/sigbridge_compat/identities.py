"""Tokens that say by themselves whom they prove: for scenarios, which need clients of every kind, and for nobody else.

Rule 1: who shows no token is nobody in particular, and may do everything; so all that knows nothing of tokens goes on
as it is. Rule 2: where the world is one in which things take their time, so does looking at a token.
"""

from collections.abc import Callable, Iterable

import msgspec

from sigbridge import Instant, errors
from sigbridge.auth import ALL_RIGHTS, ANYBODY, Credentials, Identity
from sigbridge.patterns import Patterns
from sigbridge.pending import Pending

BAD_TOKEN = "nobody's token"


class _Description(msgspec.Struct, forbid_unknown_fields=True):
    """Content of a token: the members of `Identity`, and `expires_in` seconds."""

    subject: str
    peer_ids: list[str] | None
    rooms: list[str] | None
    rights: list[str]
    expires_in: float | None


def token_of(
    subject: str = "",
    *,
    peer_ids: Iterable[str] | None = None,
    rooms: Iterable[str] | None = None,
    rights: Iterable[str] = ALL_RIGHTS,
    expires_in: float | None = None,
) -> str:
    """Returns a token that proves an identity to `DescribedIdentities`; peer IDs and rooms are patterns."""
    return msgspec.json.encode(
        _Description(
            subject,
            None if peer_ids is None else list(peer_ids),
            None if rooms is None else list(rooms),
            sorted(rights),
            expires_in,
        )
    ).decode()


class DescribedIdentities:
    """An `Authenticator` that believes the tokens of `token_of`."""

    def __init__(self, later: Callable[[Callable[[], None]], None] | None = None) -> None:
        """`later` calls something in a later turn of the event loop; without it, tokens are looked at at once.

        A token that was found good once is known from then on.
        """
        self._later = later
        self._known: set[str] = set()

    def authenticate(self, credentials: Credentials, now: Instant) -> Identity | Pending[Identity]:
        """Returns the identity that the token describes, in a later turn if it is shown for the first time.

        ANYBODY for none.

        :raises SignalingError: UNAUTHENTICATED if it describes none
        """
        token = credentials.token
        if token is None:
            return ANYBODY
        if self._later is None or token in self._known:
            return _described(token, now)
        identity: Pending[Identity] = Pending()

        def look() -> None:
            """Resolves the pending identity with what the token describes, or with a refusal."""
            try:
                proven = _described(token, now)
                self._known.add(token)
                identity.resolve(proven, now)
            except errors.SignalingError as error:
                identity.resolve(error, now)

        self._later(look)
        return identity


def _described(token: str, now: Instant) -> Identity:
    """Returns the identity that a token describes in JSON.

    :raises SignalingError: UNAUTHENTICATED if it describes none
    """
    try:
        said = msgspec.json.decode(token, type=_Description)
    except msgspec.MsgspecError:
        raise errors.unauthenticated() from None
    return Identity(
        said.subject,
        None if said.peer_ids is None else Patterns(said.peer_ids),
        None if said.rooms is None else Patterns(said.rooms),
        frozenset(said.rights),
        source="described",
        expires_at=None if said.expires_in is None else now.unix + said.expires_in,
    )
