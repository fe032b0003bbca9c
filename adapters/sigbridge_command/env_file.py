"""The file of variables that `--env-file` names, and what of it counts without a restart: the allowed origins."""

import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from sigbridge.instant import Instant
from sigbridge.settings import setting_infos
from sigbridge_command.errors import UsageError

_ORIGINS = setting_infos()["allowed_origins"]


def variables_of(path: str) -> dict[str, str]:
    """The variables of a file of NAME=VALUE lines; UsageError where it is none."""
    wrong = UsageError(f"--env-file is {path!r}: expected a file of NAME=VALUE lines")
    if not Path(path).is_file():
        raise wrong
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise wrong from None
    if "\0" in text:
        raise wrong
    from dotenv import dotenv_values

    # A token may hold a dollar sign: values are taken as they stand.
    values = dotenv_values(stream=io.StringIO(text), interpolate=False)
    return {name: value for name, value in values.items() if value is not None}


class EnvFileOrigins:
    """The allowed origins in such a file; a `sigbridge_server.reloading.Reloadable`."""

    def __init__(self, path: str, take: Callable[[tuple[str, ...]], None]) -> None:
        """Gives what was read again to `take`."""
        self.paths = (path,)
        self._take = take

    def read(self) -> tuple[str, ...]:
        """The origins; UsageError where the file is none, SettingError where it holds the variable and no origin."""
        text = variables_of(self.paths[0]).get(_ORIGINS.env, "")
        origins: tuple[str, ...] = _ORIGINS.parse(text)
        if text and not origins:
            # As at the start: commas alone must not leave a door open.
            raise _ORIGINS.wrong(text)
        return origins

    def put(self, content: tuple[str, ...], now: Instant) -> None:
        """Take what was read: it counts from now on."""
        self._take(content)


def origins_of(
    path: str | None, take: Callable[[tuple[str, ...]], None], environ: Mapping[str, str] = os.environ
) -> EnvFileOrigins | None:
    """The origins of a file, where there is one, and the environment, which comes first, says none."""
    return None if path is None or _ORIGINS.env in environ else EnvFileOrigins(path, take)
