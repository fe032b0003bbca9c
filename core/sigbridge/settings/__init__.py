"""Every setting, in one file for each subject, and the one table that is made of them; checked when made.

Rule 1: `declare.py` says how a setting is declared; each file beside it declares those of one subject, and imports no
other. Rule 2: `Settings` inherits every subject, so that its fields are flat. Rule 3: nothing here asks what is
installed, or does any I/O. `docs/settings.md` is generated from these files.
"""

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from sigbridge.settings.admission import Admission
from sigbridge.settings.capacity import Capacity
from sigbridge.settings.connections import Connections
from sigbridge.settings.continuity import Continuity
from sigbridge.settings.declare import (
    BindAddress,
    SettingError,
    SettingInfo,
    Subject,
    address_text,
    parse_address,
    parse_addresses,
)
from sigbridge.settings.deployed import Deployed
from sigbridge.settings.ice import Ice
from sigbridge.settings.identities import Identities
from sigbridge.settings.listening import Listening
from sigbridge.settings.messages import Messages
from sigbridge.settings.names import closest, suspicious, told
from sigbridge.settings.proxies import PROXY, Proxies
from sigbridge.settings.rates import Rates
from sigbridge.settings.rooms import Rooms
from sigbridge.settings.sessions import Sessions
from sigbridge.settings.strictness import Strictness
from sigbridge.settings.telemetry import Telemetry, level_of_rust_log
from sigbridge.settings.tls import Tls
from sigbridge.settings.unary import Unary

__all__ = [
    "BindAddress",
    "SettingError",
    "SettingInfo",
    "Settings",
    "Subject",
    "address_text",
    "fields_from_file",
    "parse_address",
    "parse_addresses",
    "setting_infos",
    "subjects",
    "unknown_variables",
]


@dataclass(frozen=True, kw_only=True)
class Settings(
    # The order of the documentation.
    Listening,
    Tls,
    Proxies,
    Admission,
    Identities,
    Capacity,
    Connections,
    Sessions,
    Continuity,
    Rooms,
    Messages,
    Ice,
    Rates,
    Unary,
    Deployed,
    Telemetry,
    Strictness,
):
    """The settings of one server. Making one checks every value; SettingError names the first that is wrong."""

    title: ClassVar[str] = "Settings"

    def __post_init__(self) -> None:
        """Checks every value, the values of each subject together, and what two subjects need of each other.

        :raises SettingError: naming the first that is wrong.
        """
        for name, info in setting_infos().items():
            value = getattr(self, name)
            if not info.check(value):
                raise info.wrong(value)
        for subject in subjects():
            subject.check_together(self)
        if self.client_address_from == PROXY and self.grpc_engine != "native":
            raise SettingError(
                f"SIGNALING_CLIENT_ADDRESS_FROM is {PROXY!r}: expected GRPC_ENGINE=native, or x-forwarded-for or "
                f"forwarded, since the library of GRPC_ENGINE={self.grpc_engine} does not read the PROXY protocol"
            )
        if not self.tls_client_ca_file:
            for name in ("certificate_is_enough", "tls_subject_peer_id"):
                if getattr(self, name):
                    raise SettingError(
                        f"SIGNALING_TLS_CLIENT_CA_FILE is empty: {setting_infos()[name].env} is true and needs "
                        "client certificates"
                    )

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str] = os.environ, *, below: Mapping[str, Any] = MappingProxyType({})
    ) -> "Settings":
        """Reads every setting from its variable, where that is set and not empty, else from the fields `below`.

        :raises SettingError: if one is wrong, and with `strict_settings` if a variable looks like one and is none.
        """
        values: dict[str, Any] = dict(below)
        for name, info in setting_infos().items():
            text = environ.get(info.env, "")
            if not text and name == "log_level" and name not in below:
                text = level_of_rust_log(environ.get("RUST_LOG", ""))
            if not text:
                continue
            try:
                values[name] = info.parse(text)
            except ValueError:
                raise info.wrong(text) from None
            if values[name] == ():
                # Somebody meant to close a door: commas alone must not leave it open.
                raise info.wrong(text)
        settings = cls(**values)
        unknown = unknown_variables(environ)
        if settings.strict_settings and unknown:
            raise SettingError(f"SIGNALING_STRICT_SETTINGS is true, and there are unknown settings: {told(unknown)}")
        return settings


@functools.cache
def subjects() -> tuple[type[Subject], ...]:
    """Returns the subjects of the settings, in the order of the documentation."""
    return tuple(subject for subject in Settings.__bases__ if issubclass(subject, Subject))


@functools.cache
def setting_infos() -> Mapping[str, SettingInfo]:
    """Returns the one table: all that is known of each setting, by field name, in the order of the documentation."""
    return MappingProxyType({name: info for subject in subjects() for name, info in subject.infos().items()})


def fields_from_file(document: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of `Settings` that a typed file sets by the names of their variables; an empty text sets none.

    :raises SettingError: for names that are none of ours, all of them in one line, and for a value of a wrong type.
    """
    by_variable = {info.env: (name, info) for name, info in setting_infos().items()}
    unknown = {name: closest(name, by_variable) for name in document if name not in by_variable}
    if unknown:
        raise SettingError(f"unknown settings: {told(unknown)}")
    values = {}
    for variable, written in document.items():
        name, info = by_variable[variable]
        if written != "":
            values[name] = info.taken(written)
    return values


def unknown_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables that look like ours and are none, each with the one that was probably meant, or an empty text.

    Those of gRPC's library, of proxies, and those that Kubernetes sets for its services are not among them.
    """
    return suspicious(environ, [info.env for info in setting_infos().values()])
