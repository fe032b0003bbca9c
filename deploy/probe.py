"""Asks the server on this machine whether it is ready: exit code 0 where it is, 1 where it is not.

For health checks that can run a command and no more. It needs the standard library only, no token and no certificate:
it asks `/readyz` at the first address of `HTTP_BIND_ADDRESS`.
"""

import http.client
import os
import socket
import sys

TIMEOUT_SECONDS = 2.0
WILDCARDS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - to be asked, not to be bound
"""Addresses at which to ask a server that listens on all addresses, by its host."""


def connected(address: str) -> socket.socket:
    """A connection to an address as the variable has it."""
    if address.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(TIMEOUT_SECONDS)
        sock.connect(address.removeprefix("unix:"))
        return sock
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        return socket.create_connection((WILDCARDS.get(host, host), int(port)), timeout=TIMEOUT_SECONDS)
    except OSError:
        if host != "::":
            raise
        # Without IPv6 it listens on IPv4.
        return socket.create_connection(("127.0.0.1", int(port)), timeout=TIMEOUT_SECONDS)


def main() -> int:
    """Asks once."""
    address = (os.environ.get("HTTP_BIND_ADDRESS") or "127.0.0.1:9090").split(",")[0].strip()
    connection = http.client.HTTPConnection("localhost")
    try:
        connection.sock = connected(address)
        connection.request("GET", "/readyz")
        page = connection.getresponse()
        print(page.read().decode().strip())
    except (OSError, http.client.HTTPException) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        connection.close()
    return 0 if page.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
