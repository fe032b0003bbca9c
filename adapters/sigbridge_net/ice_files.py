"""The files of ICE servers: the servers themselves, and the secret by which credentials for TURN are made.

Rule 1: nothing of what is in them is in an error. Rule 2: credentials are made by the secret in the first line. The one
in the second is the secret before, which the TURN server still takes while old credentials are good: nothing is made by
it, and whoever gives TURN servers the same file need not cut it. Source: `docs/ice-servers.md`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from sigbridge.ice_servers import IceStock, Turn, ice_servers_in
from sigbridge.instant import Instant
from sigbridge.settings import SettingError, Settings
from sigbridge.settings.ice import VARIABLE, is_json

MIN_SECRET_BYTES: Final = 16
"""The shortest secret: with credentials in hand, anybody may try secrets at home."""
MAX_SECRETS: Final = 2
_BRACES: Final = frozenset('[{"')


class IceFiles:
    """The ICE servers that the settings and their files say; a `sigbridge_server.reloading.Reloadable` of these."""

    def __init__(self, settings: Settings, put: Callable[[IceStock], None]) -> None:
        """Reads the files that the settings name, if any, and gives the servers to `put`.

        :raises SettingError: if a file cannot be used
        """
        self._settings = settings
        self._put = put
        self._servers_file = "" if is_json(settings.ice_servers) else settings.ice_servers
        self.paths = tuple(path for path in (self._servers_file, settings.turn_secret_file) if path)
        if self.paths:
            put(self.read())

    def read(self) -> IceStock:
        """Returns the servers of settings and files, in any thread, and changes nothing.

        :raises SettingError: if a file cannot be used
        """
        settings = self._settings
        path = self._servers_file
        fixed = _servers_of(path) if path else ice_servers_in(settings.ice_servers) if settings.ice_servers else ()
        turn = None
        if settings.turn_secret_file:
            turn = Turn(settings.turn_urls, _secret_of(settings.turn_secret_file), settings.turn_ttl_seconds)
        return IceStock(fixed, turn)

    def put(self, content: IceStock, now: Instant) -> None:
        """Lets what `read` returned count from now on."""
        self._put(content)


def _servers_of(path: str) -> tuple[dict[str, object], ...]:
    """Returns the servers in a file.

    :raises SettingError: if it cannot be read, or holds something else
    """
    # What looks like JSON in wrong quotes may hold a credential.
    where = f"{VARIABLE} is {'(hidden)' if _BRACES & set(path) else repr(path)}"
    try:
        return ice_servers_in(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingError(f"{where}: expected a JSON array, or a file that can be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise SettingError(f"{where}: expected text in UTF-8") from None
    except ValueError as error:
        raise SettingError(f"{where}: expected {error}") from None


def _secret_of(path: str) -> bytes:
    """Returns the secret in the first line of a file.

    :raises SettingError: if the file cannot be read, has too many lines, or a secret that is too short
    """
    where = f"SIGNALING_TURN_SECRET_FILE is {path!r}: expected"
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "no path"
        raise SettingError(f"{where} a file that can be read ({why})") from None
    # The line's end is no part of a secret.
    secrets = [line.removesuffix(b"\r") for line in lines if line.strip()]
    if not 1 <= len(secrets) <= MAX_SECRETS:
        raise SettingError(f"{where} a secret in the first line, and at most the one before in the second")
    for number, secret in enumerate(secrets, 1):
        if len(secret) < MIN_SECRET_BYTES:
            raise SettingError(f"{where} secrets of at least {MIN_SECRET_BYTES} bytes (line {number} is shorter)")
        if secret != secret.strip():
            raise SettingError(f"{where} secrets without blanks around them (line {number} has some)")
    return secrets[0]
