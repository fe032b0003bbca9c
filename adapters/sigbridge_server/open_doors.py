"""The addresses at which anybody may signal, where nobody is asked for anything.

Rule 1: what counts is what an address serves, whatever protocol it is named after: the native engine serves both at
each, and gRPC-Web is served wherever WebSocket is. Rule 2: loopback and unix sockets are for this machine alone, and a
name is taken for other machines' too, unless it is `localhost`.
"""

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv6Address, ip_address

_UNIX = "unix:"


def open_doors(
    addresses: Mapping[str, Sequence[str]], unasked: Mapping[str, bool], *, native: bool
) -> Iterator[tuple[str, str]]:
    """Yields each address that anybody reaches, and the protocols by which nobody is asked for anything there.

    `addresses` are those of `grpc` and of `ws`, as they are told; `unasked` says it of `grpc` and of `websocket`.
    """
    served: dict[str, set[str]] = {}
    for name, protocols in (("grpc", ("grpc", "websocket") if native else ("grpc",)), ("ws", ("grpc", "websocket"))):
        for address in addresses[name]:
            served.setdefault(address, set()).update(protocols)
    for address, protocols_there in served.items():
        known = [protocol for protocol in sorted(protocols_there) if unasked[protocol]]
        if known and not is_local(address):
            yield address, " and ".join(known)


def is_local(address: str) -> bool:
    """Returns whether only this machine reaches an address: `HOST:PORT`, `[IPv6]:PORT` or `unix:/PATH`."""
    if address.startswith(_UNIX):
        return True
    host = address.rpartition(":")[0].removeprefix("[").removesuffix("]")
    try:
        found = ip_address(host)
    except ValueError:
        return host.lower() == "localhost"
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return (mapped or found).is_loopback
