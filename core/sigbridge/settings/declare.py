"""The declaration of a setting: its default, unit, environment variable and meaning, and how its text is read.

Rule 1: a field that one of these functions makes carries all that is known of its setting.
Rule 2: no subject imports another; what two of them need stands here, what needs two of them in `__init__.py`.
"""

import dataclasses
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Any, ClassVar, NamedTuple

from sigbridge.errors import SigbridgeError
from sigbridge.patterns import MAX_PATTERNS, Patterns

ADDRESSES = "addresses such as 127.0.0.1:50051, [::1]:50051, :50051 or unix:/run/sigbridge.sock, separated by commas"
BOTH_FAMILIES = "::"
"""The host of an address that stands for every address of this machine, of IPv6 and of IPv4."""
ALL_OF_IPV4 = "0.0.0.0"
_UNIX = "unix:"
_MAX_PATH_BYTES = 107
"""Bytes of the path of a unix socket; unix(7) has room for 108, with the zero at its end."""

_TOO_MUCH = 1e9
"""Seconds, and requests per second, are fewer."""
_LISTED = ("separated by commas", "as a list of texts")
"""The words of variables for several texts, and those of typed files."""


class SettingError(SigbridgeError, ValueError):
    """A setting is wrong; the text names the variable, what it holds and what would be right."""


@dataclass(frozen=True)
class SettingInfo:
    """All that is known of a setting besides its value."""

    env: str
    meaning: str
    expects: str
    parse: Callable[[str], Any]
    take: Callable[[Any], Any]
    """Makes a value of one that TOML or JSON has; a ValueError says that its type is wrong."""
    check: Callable[[Any], bool]
    secret: bool
    """True where its value is shown to nobody."""

    def shown(self, value: Any) -> str:
        """Returns the value as people may read it, texts as they stand in a variable."""
        if self.secret and value:
            return "(hidden)"
        if isinstance(value, tuple) and all(isinstance(each, str) for each in value):
            return repr(",".join(value))
        return repr(value)

    def taken(self, written: Any) -> Any:
        """Returns the value of a setting from a typed file.

        An empty text or list of a file means what it means in a variable: see `Settings.from_environment`.

        :raises SettingError: if its type or value is wrong.
        """
        try:
            value = self.take(written)
        except (ValueError, OverflowError):
            value = None
        if value is None or value == () or not self.check(value):
            expects = self.expects.replace(*_LISTED) if self.take is _take_texts else self.expects
            raise SettingError(f"{self.env} is {self.shown(written)}: expected {expects}")
        return value

    def wrong(self, value: Any) -> SettingError:
        """Returns the error that says of a value that it is none for this setting."""
        return SettingError(f"{self.env} is {self.shown(value)}: expected {self.expects}")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The settings of one subject, which `Settings` inherits."""

    title: ClassVar[str] = ""
    """The heading of these settings, for people."""

    @classmethod
    def infos(cls) -> dict[str, SettingInfo]:
        """Returns the settings by field name, in the order in which they are declared."""
        return {field.name: field.metadata["info"] for field in dataclasses.fields(cls)}

    def check_together(self) -> None:
        """Checks that values, each right by itself, go together.

        :raises SettingError: if they do not.
        """


# Fields, by what they hold.


def setting(  # prose: a default, and the seven facts of `SettingInfo`
    default: Any, env: str, meaning: str, expects: str, parse: Any, take: Any, check: Any, *, secret: bool = False
) -> Any:
    """Returns a field of any kind.

    `parse` makes a value of a text, `take` of a typed one, and `check` says whether it is right. One that is `secret`
    is in no `repr`.
    """
    info = SettingInfo(env, meaning, expects, parse, take, check, secret)
    return dataclasses.field(default=default, repr=not secret, metadata={"info": info})


def whole(default: int, env: str, meaning: str, *, least: int = 1) -> Any:
    """Returns a field that holds a whole number."""
    return setting(
        default, env, meaning, f"a whole number, at least {least}", int, _take_whole, lambda value: value >= least
    )


def per_second(default: float, env: str, meaning: str) -> Any:
    """Returns a field that holds a rate."""
    expects = "a number of requests per second, at least 0 and below 1e9"
    return setting(default, env, meaning, expects, float, _take_number, lambda value: 0 <= value < _TOO_MUCH)


def seconds(default: float, env: str, meaning: str, *, zero: bool = False, least: float = 0.0) -> Any:
    """Returns a field that holds a time of `least` seconds or more; `zero` says whether it may be 0."""
    expects = f"a number of seconds, at least {least:g}" if zero or least else "a number of seconds above 0"
    return setting(
        default,
        env,
        meaning,
        f"{expects} and below 1e9",
        float,
        _take_number,
        lambda value: (value >= least if zero or least else value > 0) and value < _TOO_MUCH,
    )


def switch(default: bool | None, env: str, meaning: str) -> Any:
    """Returns a field that holds true or false; a default of `None` tells that nothing was set."""
    return setting(default, env, meaning, "true or false", _parse_bool, _take_bool, lambda _: True)


def text(default: str, env: str, meaning: str, expects: str, check: Callable[[str], object] = str) -> Any:
    """Returns a field that holds a text, which is wrong if `check` refuses it with a ValueError."""
    return setting(default, env, meaning, expects, str, _take_text, _passes(check))


# Six parameters: the facts of `SettingInfo`, of which these fields share the rest, and a default.
def texts(
    env: str,
    meaning: str,
    expects: str,
    *,
    default: tuple[str, ...] = (),
    check: Callable[[tuple[str, ...]], object] = tuple,
    secret: bool = False,
) -> Any:
    """Returns a field that holds a tuple of texts, in a variable separated by commas; see `text` for `check`."""

    def parse(value: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in value.split(",") if part.strip())

    return setting(default, env, meaning, expects, parse, _take_texts, _passes(check), secret=secret)


def patterns(env: str, meaning: str) -> Any:
    """Returns a field that holds patterns, in which `*` stands for any text."""
    return texts(env, meaning, f"at most {MAX_PATTERNS} patterns such as kiosk-*, separated by commas", check=Patterns)


# Texts.


class BindAddress(NamedTuple):
    """An address to listen on: a host and a port, or a unix socket."""

    host: str
    port: int = 0
    """0: the system is to choose one."""
    path: str = ""
    """The file of a unix socket; empty where it is none."""

    def __str__(self) -> str:
        return f"{_UNIX}{self.path}" if self.path else address_text(self.host, self.port)

    @property
    def is_fixed(self) -> bool:
        """True for a path, or a port other than 0: two equal ones are one address."""
        return bool(self.path or self.port)

    def is_ipv6_alone(self, others: Iterable["BindAddress"]) -> bool:
        """Returns whether IPv4's half of both families is one of the others: it is left to that one then."""
        ipv4 = BindAddress(ALL_OF_IPV4, self.port)
        return self.host == BOTH_FAMILIES and self.is_fixed and ipv4 in others


def address_text(host: str, port: int) -> str:
    """Returns `HOST:PORT`, with brackets around an address of IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_addresses(text: str) -> tuple[BindAddress, ...]:
    """Reads addresses that commas separate, each `unix:/PATH` or what `parse_address` reads.

    One that is there twice counts once.

    :raises ValueError: if one of them is wrong, or there is none.
    """
    found: list[BindAddress] = []
    for part in filter(None, map(str.strip, text.split(","))):
        address = _parse_path(part) if part.startswith(_UNIX) else BindAddress(*parse_address(part))
        if not address.is_fixed or address not in found:
            found.append(address)
    if not found:
        raise ValueError(text)
    return tuple(found)


def _parse_path(text: str) -> BindAddress:
    """Reads `unix:/PATH`.

    :raises ValueError: if the path is not absolute, is a folder's, or too long.
    """
    path = text.removeprefix(_UNIX)
    if not path.startswith("/") or path.endswith("/") or "\0" in path or len(os.fsencode(path)) > _MAX_PATH_BYTES:
        raise ValueError(text)
    return BindAddress("", 0, path)


def parse_address(address: str) -> tuple[str, int]:
    """Splits `HOST:PORT`, `[IPv6]:PORT` or `:PORT` into host and port.

    An address of IPv6 is written in its usual form, one that IPv4 has mapped there as IPv4. No host is both families.

    :raises ValueError: if it is none of these.
    """
    host, colon, port_text = address.rpartition(":")
    if not colon or not port_text.isascii() or not port_text.isdigit() or int(port_text) > 65535:
        raise ValueError(address)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(address)
    try:
        # As a resolver will; it knows no name with an empty label, or one of more than 63 letters.
        host.encode("idna")
        return _canonical_host(host or BOTH_FAMILIES), int(port_text)
    except ValueError:
        raise ValueError(address) from None


def _canonical_host(host: str) -> str:
    """Returns a host with an IPv6 address in canonical form, a mapped one as IPv4."""
    if ":" not in host:
        return host
    address = IPv6Address(host)
    return str(address.ipv4_mapped or address)


def _passes(check: Callable[[Any], object]) -> Callable[[Any], bool]:
    """Returns a predicate that is False if `check` refuses a value with ValueError; other errors are passed on."""

    def passes(value: Any) -> bool:
        """Returns whether the check passes; see `_passes`."""
        try:
            check(value)
        except SettingError:
            raise
        except ValueError:
            return False
        return True

    return passes


# Values of TOML and JSON, in which true is no number.


def _take_whole(value: Any) -> int:
    if type(value) is not int:
        raise ValueError
    return value


def _take_number(value: Any) -> float:
    if type(value) not in (int, float):
        raise ValueError
    return float(value)


def _take_bool(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError
    return value


def _take_text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError
    return value


def _take_texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one and one == one.strip() for one in value):
        raise ValueError
    return tuple(value)


def _parse_bool(value: str) -> bool:
    """Reads true, 1, yes, on, false, 0, no or off, in any case.

    :raises ValueError: for other words.
    """
    word = value.strip().lower()
    if word in ("true", "1", "yes", "on"):
        return True
    if word in ("false", "0", "no", "off"):
        return False
    raise ValueError(value)
