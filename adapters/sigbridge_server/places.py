"""The places at which a server listens: its addresses, and descriptors that it was given instead.

Rule 1: all are taken before anybody is served, and where one cannot be had, all are given back. Rule 2: an address of
both protocols is taken once. Rule 3: an error names the variable. Rule 4: a descriptor that is named after a protocol
replaces all addresses of it; it is not ours to remove its file.
"""

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from sigbridge.settings import BindAddress, Settings
from sigbridge_net.errors import ListenError
from sigbridge_net.listening import Bound, adopt, bind

VARIABLES = {"grpc": "GRPC_BIND_ADDRESS", "ws": "WS_BIND_ADDRESS", "http": "HTTP_BIND_ADDRESS"}
"""The variable of each name that a place may have."""

Inherited: TypeAlias = Mapping[str, Sequence[socket.socket]]
"""Sockets that listen already, by the names of `VARIABLES`."""


class Places:
    """The places of one server, by name."""

    def __init__(self, settings: Settings, inherited: Inherited) -> None:
        """Finds out which addresses are to be listened on, and listens on none yet.

        :raises ListenError: if the engine cannot take what was inherited.
        """
        if settings.grpc_engine == "grpcio" and inherited.get("grpc"):
            raise ListenError(
                "LISTEN_FDNAMES names a descriptor grpc, which GRPC_ENGINE=grpcio cannot take: expected "
                "GRPC_ENGINE=native, or GRPC_BIND_ADDRESS instead of the descriptor"
            )
        self._unix_mode = settings.unix_mode_bits
        self._inherited = inherited
        addresses = {"grpc": settings.grpc_addresses, "ws": settings.ws_addresses, "http": settings.http_addresses}
        self.addresses = {name: () if inherited.get(name) else found for name, found in addresses.items()}
        """The addresses to be listened on."""
        self._taken: dict[BindAddress, Bound] = {}
        """The addresses of clients that are listened on already."""
        self._names: dict[str, list[Bound]] = {name: [] for name in VARIABLES}

    async def take(self, name: str) -> None:
        """Listens on all addresses of a name, or at its inherited descriptors.

        :raises ListenError: if an address cannot be bound.
        """
        with named("LISTEN_FDNAMES"):
            self._names[name] += [adopt(sock) for sock in self._inherited.get(name, ())]
        with named(VARIABLES[name]):
            for address in self.addresses[name]:
                bound = self._taken.get(address) if name != "http" else None
                if bound is None:
                    alone = address.is_ipv6_alone(self.all_addresses())
                    bound = await bind(address, ipv6_alone=alone, unix_mode=self._unix_mode)
                if address.is_fixed and name != "http":
                    self._taken[address] = bound
                self._names[name].append(bound)

    def all_addresses(self) -> list[BindAddress]:
        """Returns the addresses of all names."""
        return [address for addresses in self.addresses.values() for address in addresses]

    def of_clients(self) -> Iterator[tuple[Bound, str]]:
        """Yields each place of the two protocols, once, and the name of its protocol, or of both."""
        grpc, websocket = self._names["grpc"], self._names["ws"]
        for bound in websocket:
            yield bound, "grpc and websocket" if bound in grpc else "websocket"
        for bound in grpc:
            if bound not in websocket:
                yield bound, "grpc"

    def of_operator(self) -> list[Bound]:
        """Returns the operator's places."""
        return self._names["http"]

    def texts(self, name: str) -> list[str]:
        """Returns the addresses of a name for people, with the ports that the system has chosen."""
        return [bound.text for bound in self._names[name]]

    def port(self, name: str) -> int:
        """Returns the first port of a name; 0 where it has unix sockets only."""
        return next((bound.port for bound in self._names[name] if bound.port), 0)

    def close(self) -> None:
        """Gives all of them back; those that a carrier closes as well are closed once."""
        for bounds in self._names.values():
            for bound in bounds:
                bound.close()


@contextmanager
def named(variable: str) -> Iterator[None]:
    """Adds to a ListenError the name of the variable to be changed.

    :raises ListenError: in place of one without that name.
    """
    try:
        yield
    except ListenError as error:
        raise ListenError(f"{error} ({variable})") from None
