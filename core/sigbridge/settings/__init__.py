"""Every setting, in one file for each subject, and the one table that is made of them; checked when made.

Rule 1: `declare.py` says how a setting is declared; each file beside it declares those of one subject, and imports no
other. Rule 2: `Settings` inherits every subject, so that its fields are flat. Rule 3: nothing here asks what is
installed, or does any I/O. `docs/settings.md` is generated from these files.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from sigbridge.settings.admission import Admission
from sigbridge.settings.capacity import Capacity
from sigbridge.settings.connections import Connections
from sigbridge.settings.declare import SettingError, SettingInfo, Subject, parse_address
from sigbridge.settings.identities import Identities
from sigbridge.settings.listening import Listening
from sigbridge.settings.messages import Messages
from sigbridge.settings.rates import Rates
from sigbridge.settings.rooms import Rooms
from sigbridge.settings.sessions import Sessions
from sigbridge.settings.telemetry import Telemetry, level_of_rust_log
from sigbridge.settings.tls import Tls
from sigbridge.settings.unary import Unary

__all__ = [
    "SettingError",
    "SettingInfo",
    "Settings",
    "Subject",
    "parse_address",
    "setting_infos",
    "subjects",
    "unknown_variables",
]


@dataclass(frozen=True, kw_only=True)
class Settings(
    # The order of the documentation.
    Listening,
    Tls,
    Admission,
    Identities,
    Capacity,
    Connections,
    Sessions,
    Rooms,
    Messages,
    Rates,
    Unary,
    Telemetry,
):
    """The settings of one server. Making one checks every value; SettingError names the first that is wrong."""

    title: ClassVar[str] = "Settings"

    def __post_init__(self) -> None:
        for name, info in setting_infos().items():
            value = getattr(self, name)
            if not info.check(value):
                raise info.wrong(value)
        for subject in subjects():
            subject.check_together(self)
        if not self.tls_client_ca_file:
            for name in ("certificate_is_enough", "tls_subject_peer_id"):
                if getattr(self, name):
                    raise SettingError(
                        f"SIGNALING_TLS_CLIENT_CA_FILE is empty: {setting_infos()[name].env} is true, and no client "
                        "shows a certificate that is not asked for"
                    )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read every setting from its variable, where that is set and not empty; SettingError where one is wrong."""
        values: dict[str, Any] = {}
        for name, info in setting_infos().items():
            text = environ.get(info.env, "")
            if not text and name == "log_level":
                text = level_of_rust_log(environ.get("RUST_LOG", ""))
            if not text:
                continue
            try:
                values[name] = info.parse(text)
            except ValueError:
                raise info.wrong(text) from None
        settings = cls(**values)
        for name, value in values.items():
            if value == ():
                # Somebody meant to close a door: commas alone must not leave it open.
                info = setting_infos()[name]
                raise info.wrong(environ[info.env])
        return settings


def subjects() -> tuple[type[Subject], ...]:
    """The subjects of the settings, in the order of the documentation."""
    return tuple(subject for subject in Settings.__bases__ if issubclass(subject, Subject))


def setting_infos() -> dict[str, SettingInfo]:
    """The one table: all that is known of each setting, by field name, in the order of the documentation."""
    return {name: info for subject in subjects() for name, info in subject.infos().items()}


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Variables that are named like ours and are none of ours: misspelt, most likely."""
    known = {info.env for info in setting_infos().values()}
    return sorted(name for name in environ if name.startswith("SIGNALING_") and name not in known)
