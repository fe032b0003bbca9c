"""JWTs as a source of identities."""

from typing import Any

from sigbridge import Identity, Instant
from sigbridge.settings import Settings


class JwtSource:
    """Checks JWTs by the keys of files, and remembers which were good."""

    def __init__(self, settings: Settings) -> None:
        """Reads the files of keys; SettingError where one is no good."""
        self._settings = settings
        self.paths: tuple[str, ...] = ()
        """The files that it is made of."""

    def cached(self, token: str, now: Instant) -> Identity | None:
        """The identity of a token that was found good before and has not expired; `None` where it is not known."""
        raise NotImplementedError

    def verify(self, token: str, now: Instant) -> Identity:
        """The identity that a token proves; raises BadToken, or UnknownKey where its key is not here."""
        raise NotImplementedError

    def read(self) -> Any:
        """Reads the files, in any thread, and changes nothing; SettingError where one is no good."""
        raise NotImplementedError

    def put(self, content: Any, now: Instant) -> None:
        """Lets what `read` returned count from now on."""
        raise NotImplementedError

    def review(self, identity: Identity) -> Identity | None:
        """The identity as it is by the keys of now: itself, or `None` where its key is gone."""
        raise NotImplementedError
