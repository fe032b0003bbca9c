"""The origins of web pages that may connect, as they are now: those of the settings, and of a file that is reread.

Rule 1: where neither says any, every page may; where a file is named and holds none, no page may. Rule 2: whoever asks
keeps no copy: the list may be another one a second later. Sessions that are there already go on. Rule 3: what an entry
means is said in `sigbridge.origins`, and nobody else compares.
"""

from pathlib import Path

from sigbridge.instant import Instant
from sigbridge.origins import Origins
from sigbridge.settings import SettingError, Settings


class AllowedOrigins:
    """The origins that are allowed; a `sigbridge_server.reloading.Reloadable` of their file."""

    def __init__(self, settings: Settings) -> None:
        """Reads the file, where one is named.

        :raises SettingError: if the file is invalid.
        """
        file = settings.allowed_origins_file
        self.paths = (file,) if file else ()
        self._listed = settings.allowed_origins
        self._filed = self.read()
        self.every = False
        """True where every page may connect."""
        self._apply_listed()

    def allow(self, origin: str) -> bool:
        """Returns whether a page of this origin may connect."""
        return self.every or origin in self._of_settings or origin in self._filed

    def list_instead(self, origins: tuple[str, ...]) -> None:
        """Takes these in place of the origins of the settings; the file's stay."""
        self._listed = origins
        self._apply_listed()

    def read(self) -> Origins:
        """Returns the origins of the file.

        :raises SettingError: if it cannot be read, or a line is no origin.
        """
        return Origins(()) if not self.paths else _origins_in(self.paths[0])

    def put(self, content: Origins, now: Instant) -> None:
        """Takes what was read: from now on it counts."""
        self._filed = content
        self._apply_listed()

    def _apply_listed(self) -> None:
        """Puts the listed origins to use, and finds out again whether all pages may connect."""
        self._of_settings = Origins(self._listed)
        self.every = self._of_settings.every or self._filed.every or not (self._listed or self.paths)


def _origins_in(path: str) -> Origins:
    """Returns the origins of a file that has one a line; `#` begins a comment.

    :raises SettingError: if it cannot be read, or a line is no origin.
    """
    where = f"SIGNALING_ALLOWED_ORIGINS_FILE is {path!r}"
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise SettingError(f"{where}: expected a file that can be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise SettingError(f"{where}: expected text in UTF-8") from None
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.partition("#")[0].strip()
        if not entry:
            continue
        if len(entry.split()) > 1 or "," in entry:
            raise SettingError(f"{where}: expected one origin such as https://example.org in line {number}")
        try:
            Origins([entry])
        except ValueError as error:
            raise SettingError(f"{where} and holds, in line {number}, {error}") from None
        entries.append(entry)
    try:
        return Origins(entries)
    except ValueError as error:
        raise SettingError(f"{where} and holds {error}") from None
