"""Settings of ICE: the STUN and TURN servers that peers are given."""

from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

from sigbridge.ice_servers import check_turn_urls, ice_servers_in
from sigbridge.settings.declare import SettingError, Subject, seconds, setting, text, texts

VARIABLE = "SIGNALING_ICE_SERVERS"


def _take_servers(value: Any) -> str:
    """Returns the text of servers that a typed file has as a text, or as an array of tables.

    :raises ValueError: if it is anything else
    """
    if isinstance(value, list):
        return msgspec.json.encode(value).decode()
    if not isinstance(value, str) or "\0" in value:
        raise ValueError
    return value


def _check_servers(value: str) -> bool:
    """Returns True if a value is a file's path, or valid JSON of ICE servers.

    :raises SettingError: if it is other JSON
    """
    if is_json(value):
        try:
            ice_servers_in(value)
        except ValueError as error:
            raise SettingError(f"{VARIABLE}: expected {error}") from None
    return True


def is_json(value: str) -> bool:
    """Returns whether a value is the servers themselves; else it is the path of their file."""
    return value.lstrip()[:1] in ("[", "{")


@dataclass(frozen=True, kw_only=True)
class Ice(Subject):
    """The STUN and TURN servers that clients are given which ask for them."""

    title: ClassVar[str] = "ICE servers"

    ice_servers: str = setting(
        "",
        VARIABLE,
        "STUN and TURN servers for clients that ask, each as browsers' RTCIceServer; see docs/ice-servers.md",
        "a JSON array of objects with urls, or the path of a file that holds one",
        str,
        _take_servers,
        _check_servers,
        secret=True,
    )
    turn_urls: tuple[str, ...] = texts(
        "SIGNALING_TURN_URLS",
        "TURN servers beside these for which each client gets credentials of its own, made by a shared secret",
        "URLs such as turn:turn.example.org:3478 or turns:turn.example.org:5349?transport=tcp, separated by commas",
        check=check_turn_urls,
    )
    turn_secret_file: str = text(
        "",
        "SIGNALING_TURN_SECRET_FILE",
        "the secret that those TURN servers know, in the first line; a second one may hold the secret before",
        "a path",
    )
    turn_ttl_seconds: float = seconds(
        86400.0, "SIGNALING_TURN_TTL_SEC", "how long credentials for TURN are good", least=1.0
    )

    def check_together(self) -> None:
        """Checks that URLs of TURN servers and their secret are set together.

        :raises SettingError: if one is set without the other
        """
        if self.turn_urls and not self.turn_secret_file:
            raise SettingError("SIGNALING_TURN_URLS is set: expected SIGNALING_TURN_SECRET_FILE too")
        if self.turn_secret_file and not self.turn_urls:
            raise SettingError("SIGNALING_TURN_SECRET_FILE is set: expected SIGNALING_TURN_URLS too")
