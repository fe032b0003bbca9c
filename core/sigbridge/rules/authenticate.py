"""Authenticating in a session: a new token in place of the credentials that it has shown before.

The one that let the session in judges the token, with the session's own certificate and address. What a session that
shows a good one may become:

    it acts for         the token names      it may
    somebody            the same             go on, announced or not, as often as it likes
    somebody            others, or nobody    not: `Subject mismatch`
    nobody in           anybody, or nobody   go on, once, before it announces itself; later: `Subject mismatch`
      particular

A refusal leaves the session as it was. Where there is no source of tokens (`ignores_tokens`), none proves anything:
whatever is shown is acknowledged, changes nothing, and may be shown again.
"""

import logging
from typing import Final

from sigbridge import errors
from sigbridge.auth import Credentials, Identity, ignores_tokens
from sigbridge.checks import check_token
from sigbridge.errors import SignalingError
from sigbridge.instant import NEVER, Instant
from sigbridge.messages import Authenticate, Authenticated, Reply
from sigbridge.pending import Pending
from sigbridge.refused import log_hidden
from sigbridge.session import Session
from sigbridge.standing import Standing

logger = logging.getLogger("sigbridge.session")

EVENTS_PER_TOKEN: Final = 16
"""Events that count as much as a look at one token, whose signature takes a tenth of a millisecond."""


class AuthenticateRule:
    """The rule of `authenticate`."""

    def __init__(self, standing: Standing) -> None:
        self._standing = standing

    def authenticate(self, session: Session, request: Authenticate, now: Instant) -> Reply | Pending[Reply]:
        """Lets the session act for the identity that its new token proves, from now on and until that expires.

        A `Pending` resolves to the same errors, and the authenticator's own are passed on.

        :raises SignalingError: UNAUTHENTICATED if the token proves none; PERMISSION_DENIED if it is another subject's.
        """
        check_token(request.token)
        if ignores_tokens(session.authenticator):
            return _reply(session)
        session.share.use(EVENTS_PER_TOKEN)
        try:
            identity = session.authenticator.authenticate(
                Credentials(request.token, session.certificate, session.remote), now
            )
        except SignalingError:
            raise
        except Exception as error:  # noqa: BLE001 - it is logged, but for its text
            log_hidden(error, session=session.id)
            raise errors.internal_error() from None
        if isinstance(identity, Pending):
            return self._await(session, identity)
        return self._adopt(session, identity, now)

    def _await(self, session: Session, pending: Pending[Identity]) -> Pending[Reply]:
        """Returns the `Pending` reply to an authenticate whose token is still looked up."""
        authenticated: Pending[Reply] = Pending()

        def known(outcome: Identity | SignalingError, then: Instant) -> None:
            """Gives the session the identity, or passes the refusal on."""
            if isinstance(outcome, SignalingError):
                authenticated.resolve(outcome, then)
                return
            try:
                reply: Reply | SignalingError = self._adopt(session, outcome, then)
            except SignalingError as error:
                reply = error.bare()
            authenticated.resolve(reply, then)

        pending.then(known)
        return authenticated

    def _adopt(self, session: Session, identity: Identity, now: Instant) -> Authenticated:
        """Gives the session the identity that its token proves; the session may have ended since it was shown.

        :raises SignalingError: if the session has ended, or may not act for that identity.
        """
        if session.end_reason is not None:
            raise errors.session_ended()
        if not _may_become(session, identity):
            raise errors.subject_mismatch()
        self._standing.give(session, identity, now)
        session.has_authenticated = True
        return _reply(session)


def _may_become(session: Session, identity: Identity) -> bool:
    """Returns whether a session may act for this identity; see the table above."""
    if session.identity.name:
        return identity.name == session.identity.name
    return session.peer is None and not session.has_authenticated


def _reply(session: Session) -> Authenticated:
    """Returns the reply to authenticate: the session's subject, and the end of its credentials without leeway."""
    identity = session.identity
    expires_at = identity.expires_at
    return Authenticated(identity.subject, None if expires_at is None or session.ends_at == NEVER else int(expires_at))
