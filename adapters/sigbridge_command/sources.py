"""Settings as a user gives them: in the environment, in the file of `--env-file`, in the file of `--config`.

Rule 1: of these the first that sets a setting counts, in this order; a variable that is empty sets nothing. Rule 2: of
the files, the allowed origins count without a restart; all else needs one.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sigbridge.instant import Instant
from sigbridge.settings import Settings, setting_infos
from sigbridge.settings.telemetry import level_of_rust_log
from sigbridge_command.config_file import fields_of
from sigbridge_command.env_file import variables_of

_ORIGINS = setting_infos()["allowed_origins"]

DEFAULT = "default"
ENVIRONMENT = "environment"


@dataclass(frozen=True)
class Files:
    """The files that were named on the command line; each is None where none was."""

    env_file: str | None = None
    config: str | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """Those that there are."""
        return tuple(path for path in (self.env_file, self.config) if path is not None)


class Given:
    """The variables and fields of one moment, with the source of each."""

    def __init__(self, files: Files, environ: Mapping[str, str] = os.environ) -> None:
        """Reads the files.

        :raises UsageError: if one cannot be used.
        """
        self._files = files
        self._own = environ
        self._of_env_file = {} if files.env_file is None else variables_of(files.env_file)
        self.fields: dict[str, Any] = {} if files.config is None else fields_of(files.config)
        """The fields of `Settings` that the configuration file sets."""
        own = {name: text for name, text in environ.items() if text or name not in self._of_env_file}
        self.environ: dict[str, str] = {**self._of_env_file, **own}
        """The variables of the environment and of its file."""

    def settings(self) -> Settings:
        """Returns the settings.

        :raises SettingError: if one is wrong.
        """
        return Settings.from_environment(self.environ, below=self.fields)

    def source(self, field: str) -> str:
        """Returns where the value of a field comes from: a word of this module, or the path of a file."""
        variable = setting_infos()[field].env
        if self.environ.get(variable):
            return self._source_of_variable(variable)
        if field in self.fields:
            return str(self._files.config)
        if field == "log_level" and level_of_rust_log(self.environ.get("RUST_LOG", "")):
            return self._source_of_variable("RUST_LOG")
        return DEFAULT

    def _source_of_variable(self, variable: str) -> str:
        return ENVIRONMENT if self._own.get(variable) else str(self._files.env_file)


class FileOrigins:
    """The allowed origins in these files; a `sigbridge_server.reloading.Reloadable`."""

    def __init__(self, files: Files, take: Callable[[tuple[str, ...]], None]) -> None:
        """Gives what was read again to `take`."""
        self.paths = files.paths
        self._files = files
        self._take = take

    def read(self) -> tuple[str, ...]:
        """Returns the origins.

        :raises UsageError: if the file of settings cannot be parsed.
        :raises SettingError: if a value in it is wrong, or the file of origins is invalid.
        """
        given = Given(self._files, {})
        text = given.environ.get(_ORIGINS.env, "")
        variables = {_ORIGINS.env: text} if text else {}
        below = {name: value for name, value in given.fields.items() if name == "allowed_origins"}
        return Settings.from_environment(variables, below=below).allowed_origins

    def put(self, content: tuple[str, ...], now: Instant) -> None:
        """Takes what was read: it counts from now on."""
        self._take(content)


def origins_of(
    files: Files, take: Callable[[tuple[str, ...]], None], environ: Mapping[str, str] = os.environ
) -> FileOrigins | None:
    """Returns the origins that the files name.

    None if there are no files, or the environment, which comes first, names some.
    """
    return None if not files.paths or environ.get(_ORIGINS.env) else FileOrigins(files, take)
