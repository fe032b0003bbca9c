"""Settings of proxies: which are trusted, and how they say whose connection or request they pass on."""

from dataclasses import dataclass
from typing import ClassVar, Final

from sigbridge.addresses import AddressSet
from sigbridge.settings.declare import SettingError, Subject, text, texts

NONE: Final = "none"
X_FORWARDED_FOR: Final = "x-forwarded-for"
FORWARDED: Final = "forwarded"
PROXY: Final = "proxy"
"""The PROXY protocol, which stands before everything else on a connection; the others are headers of requests."""
_WAYS: Final = (NONE, X_FORWARDED_FOR, FORWARDED, PROXY)


def _check_proxies(entries: tuple[str, ...]) -> None:
    """Checks that entries are addresses, networks or `unix`.

    :raises SettingError: naming the one that is none.
    """
    try:
        AddressSet(entries)
    except ValueError as error:
        raise SettingError(
            f"SIGNALING_TRUSTED_PROXIES holds {error}: expected addresses, networks such as 10.0.0.0/8, or unix"
        ) from None


@dataclass(frozen=True, kw_only=True)
class Proxies(Subject):
    """The proxies that are trusted, and how they say a client's address."""

    title: ClassVar[str] = "Proxies"

    client_address_from: str = text(
        NONE,
        "SIGNALING_CLIENT_ADDRESS_FROM",
        "how trusted proxies state a client's address: by a header of each request, or by the PROXY protocol (before "
        "TLS), which they must then speak; none: not at all",
        "none, x-forwarded-for, forwarded or proxy",
        _WAYS.index,
    )
    trusted_proxies: tuple[str, ...] = texts(
        "SIGNALING_TRUSTED_PROXIES",
        "proxies that are trusted; wrong tokens are not counted against their addresses; unix: every client of a "
        "unix socket; not set: none",
        "addresses, networks such as 10.0.0.0/8 or 2001:db8::/32, and unix, separated by commas",
        check=_check_proxies,
    )

    def check_together(self) -> None:
        """Checks that a proxy is trusted if an address is to be taken from one.

        :raises SettingError: if none is.
        """
        if self.client_address_from != NONE and not self.trusted_proxies:
            raise SettingError(
                f"SIGNALING_CLIENT_ADDRESS_FROM is {self.client_address_from!r}, and SIGNALING_TRUSTED_PROXIES is not "
                "set: expected the proxies that may state a client's address"
            )
