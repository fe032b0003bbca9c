"""The origins of web pages that may connect, as they are now: those of the settings, and of a file that is reread.

Rule 1: where neither says any, every page may; where a file is named and holds none, no page may. Rule 2: whoever asks
keeps no copy: the list may be another one a second later. Sessions that are there already go on.
"""

from pathlib import Path

from sigbridge.instant import Instant
from sigbridge.settings import SettingError, Settings


class AllowedOrigins:
    """The origins that are allowed; a `sigbridge_server.reloading.Reloadable` of their file."""

    def __init__(self, settings: Settings) -> None:
        """Reads the file, where one is named; SettingError where it is no good."""
        file = settings.allowed_origins_file
        self.paths = (file,) if file else ()
        self._listed = settings.allowed_origins
        self._filed = self.read()
        self.present: tuple[str, ...] | None = None
        """The origins that are allowed; None: all."""
        self._join()

    def allow(self, origin: str) -> bool:
        """Returns whether a page of this origin may connect."""
        return self.present is None or origin in self.present

    def list_instead(self, origins: tuple[str, ...]) -> None:
        """Takes these in place of the origins of the settings; the file's stay."""
        self._listed = origins
        self._join()

    def read(self) -> tuple[str, ...]:
        """Returns the origins of the file; SettingError where it cannot be read, or a line is no origin."""
        origins = [origin for path in self.paths for origin in _origins_in(path)]
        return tuple(dict.fromkeys(origins))

    def put(self, content: tuple[str, ...], now: Instant) -> None:
        """Takes what was read: from now on it counts."""
        self._filed = content
        self._join()

    def _join(self) -> None:
        known = tuple(dict.fromkeys((*self._listed, *self._filed)))
        self.present = known if known or self.paths else None


def _origins_in(path: str) -> list[str]:
    where = f"SIGNALING_ALLOWED_ORIGINS_FILE is {path!r}"
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise SettingError(f"{where}: expected a file that can be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise SettingError(f"{where}: expected text in UTF-8") from None
    origins = []
    for number, line in enumerate(text.splitlines(), 1):
        origin = line.partition("#")[0].strip()
        if len(origin.split()) > 1 or "," in origin:
            raise SettingError(f"{where}: expected one origin such as https://example.org in line {number}")
        if origin:
            origins.append(origin)
    return origins
