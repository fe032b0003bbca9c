"""The one authenticator of a server: who comes in on one protocol, and as whom, by all sources together.

Rule 1: every refusal says the same words; its `detail` has the reason, for the log, and nothing has the credential.
Rule 2: a credential that is good goes through, however many wrong ones come from the same address. Rule 3: a token
whose key is not here is no guess. It waits for the next look at the files, once, and is decided then. Rule 4: where
nobody is asked, a token that is shown counts all the same, unless there is no source of any.

    shown ──known, or its signature is good──► let in
      ├──wrong──► refused, and counted as a guess; throttled where there were too many
      ├──too many wrong ones, no signature left──► throttled
      └──unknown key──► waits for the next look ──► let in, refused or throttled
                │
                └─no room to wait─► told to come again
"""

from collections import Counter
from collections.abc import Callable
from typing import Final

from sigbridge import errors
from sigbridge.addresses import address_group
from sigbridge.auth import Credentials, Identity, token_digest
from sigbridge.errors import SignalingError
from sigbridge.instant import Instant
from sigbridge.pending import Pending
from sigbridge_auth.sources import Sources, joined
from sigbridge_auth.verdicts import BadToken, UnknownKey

MAX_TOKEN_LENGTH: Final = 16384
"""Characters of a token; headers carry no more, and what is longer is not looked at."""
MAX_WAITING: Final = 256
"""Clients of a protocol that wait for a look at the files; all may have signatures to be checked in one turn."""
MAX_WAITING_OF_ADDRESS: Final = 64
CROWDED_WAIT_MS: Final = 1000
"""The time after which those may come again for whom there is no room to wait: the files are looked at in between."""


class TokenAuthenticator:
    """Lets in whom the sources know on one protocol, where a token is asked for, or not."""

    def __init__(self, sources: Sources, *, asked: bool) -> None:
        self._sources = sources
        self._asked = asked
        self.ignores_tokens: Final = not sources.has_tokens
        """See `sigbridge.auth.ignores_tokens`."""
        self._waiting: Counter[str] = Counter()
        """Clients that wait, by address."""
        self.look_again: Callable[[], Pending[None]] | None = None
        """Asks for another look at the files, after which its `Pending` resolves; None: nobody looks at them."""

    def authenticate(self, credentials: Credentials, now: Instant) -> Identity | Pending[Identity]:
        """Returns the identity that credentials prove, or a `Pending` of it while the files of keys are read again.

        :raises SignalingError: UNAUTHENTICATED if they prove none; RESOURCE_EXHAUSTED if too many were shown.
        """
        try:
            return self._decide(credentials, now)
        except UnknownKey as unknown:
            if self.look_again is None or self._sources.guesses.wait(credentials.address, now.monotonic):
                raise self._refusal_without_key(credentials, unknown, now) from None
            if not self._may_wait(credentials.address):
                # Its key may be there with the next look: to who is nobody clients do not come back.
                reason = "its kid is unknown, and too many wait for one"
                raise _refusal(reason, CROWDED_WAIT_MS) from None
        return self._decide_after_reload(credentials, self.look_again())

    def _decide(self, credentials: Credentials, now: Instant) -> Identity:
        """Returns the identity that credentials prove.

        :raises SignalingError: if they are refused.
        :raises UnknownKey: if the token's key is not among those read; reading them again may help.
        """
        sources, address, token = self._sources, credentials.address, credentials.token
        certified = None
        if credentials.certificate is not None:
            try:
                certified = sources.certified(credentials.certificate, now)
            except BadToken as bad:
                # Nobody guesses certificates.
                raise _refusal(str(bad), 0) from None
        if token is None or not sources.has_tokens:
            if not self._asked or (certified is not None and sources.certificate_is_enough):
                return sources.anonymous if certified is None else certified
            wait = sources.guesses.count(address, None, now.monotonic)
            raise _refusal("no token, or more than one", wait)
        try:
            proven = self._proven(token, address, now)
        except UnknownKey as unknown:
            sources.guesses.count_vain(address, unknown.signatures, now.monotonic)
            raise
        except BadToken as bad:
            # What is too long to be a token is not read, not even for its digest.
            digest = token_digest(token) if len(token) <= MAX_TOKEN_LENGTH else None
            wait = sources.guesses.count(address, digest, now.monotonic)
            raise _refusal(str(bad), wait) from None
        return proven if certified is None else joined(proven, certified)

    def _proven(self, token: str, address: str, now: Instant) -> Identity:
        """Returns the identity that a token proves.

        :raises BadToken: if it proves none.
        :raises SignalingError: if it may not be checked now.
        """
        sources = self._sources
        if len(token) > MAX_TOKEN_LENGTH:
            raise BadToken("the token is too long")
        identity = sources.known(token, now)
        if identity is not None:
            return identity
        if sources.jwt is None or token.count(".") != 2:
            raise BadToken("the token is not known")

        def gate(signatures: int, unknown: bool) -> None:
            wait = sources.guesses.take_checks(address, token_digest(token), signatures, now.monotonic, unknown=unknown)
            if wait:
                raise _refusal("too many wrong tokens from its address", wait)

        return sources.jwt.verify(token, now, gate)

    # Tokens whose key is not here.

    def _may_wait(self, address: str) -> bool:
        """Returns whether there is room for one more that waits."""
        waiting = self._waiting
        return waiting.total() < MAX_WAITING and waiting[address_group(address)] < MAX_WAITING_OF_ADDRESS

    def _decide_after_reload(self, credentials: Credentials, looked: Pending[None]) -> Pending[Identity]:
        """Returns a `Pending` of the decision that is made when the files of keys have been read again."""
        group = address_group(credentials.address)
        self._waiting[group] += 1

        def decide(_: object, then: Instant) -> Identity | SignalingError:
            """Decides again; a token whose key is still unknown is refused."""
            self._waiting -= Counter((group,))
            try:
                return self._decide(credentials, then)
            except UnknownKey as unknown:
                return self._refusal_without_key(credentials, unknown, then)
            except SignalingError as error:
                return error.bare()

        return looked.followed_by(decide)

    def _refusal_without_key(self, credentials: Credentials, unknown: UnknownKey, now: Instant) -> SignalingError:
        """Returns the refusal of a token whose key is not here, which counts as no guess."""
        address = credentials.address
        return _refusal(str(unknown), self._sources.guesses.wait(address, now.monotonic))


def _refusal(reason: str, wait: int) -> SignalingError:
    """Returns the refusal that a client is told; `wait` is how long it is throttled (ms), 0 for not.

    `reason` goes along for the log alone.
    """
    error = errors.throttled(wait) if wait else errors.unauthenticated()
    error.detail = reason
    return error
