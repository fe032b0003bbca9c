"""HTTP/1.1 of a client, byte by byte, without a socket."""

import h11

from clock import Clock
from lines import Line
from sigbridge import Settings
from sigbridge_http.wire import HttpWire, http_wires
from sigbridge_net.pages import Page, Site

PAGES = {
    "/metrics": lambda: Page(200, b"up 1\n", content_type="text/plain; version=1.0.0"),
    "/healthz": lambda: Page(200, b"alive\n"),
    "/readyz": lambda: Page(503, b"draining\n"),
    "/empty": lambda: Page(200, b""),
}
TIMEOUT = 10.0


def get(path: str, *headers: str, method: str = "GET", version: str = "1.1") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: server", *headers, "", ""]
    return "\r\n".join(lines).encode()


class HttpLine(Line):
    """A client's HTTP/1.1, of any pages."""

    wire: HttpWire

    def __init__(self, pages=PAGES):
        super().__init__(http_wires(Site(pages), Settings(handshake_timeout_seconds=TIMEOUT)), Clock())

    def sweep(self) -> bool:
        """Does what a carrier's sweep does; returns whether the connection is dropped."""
        self.expire()
        return self.wire.aborted

    def responses(self, *methods: str) -> list[tuple[int, dict[str, str], bytes]]:
        """Status, headers and body of each response, read by a client that sent these methods."""
        client = h11.Connection(h11.CLIENT)
        client.receive_data(self.output)
        responses = []
        for method in methods:
            client.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
            client.send(h11.EndOfMessage())
            response = client.next_event()
            assert isinstance(response, h11.Response), response
            body = b""
            while isinstance(event := client.next_event(), h11.Data):
                body += bytes(event.data)
            assert isinstance(event, h11.EndOfMessage), event
            headers = {name.decode(): value.decode() for name, value in response.headers}
            responses.append((response.status_code, headers, body))
            if client.their_state is h11.DONE and client.our_state is h11.DONE:
                client.start_next_cycle()
        assert not client.trailing_data[0], "more than was asked for"
        return responses


class Echo:
    """A service that says how long a body was."""

    paths = frozenset({"/echo"})
    max_body_bytes = 500_000

    def respond(self, request, now):
        return Page(200, b"%d" % len(request.body))


class BodyLine(HttpLine):
    """A client of that service, one of several that have a bound together."""

    def __init__(self, total, clock):
        Line.__init__(self, http_wires(Site({}, Echo()), Settings(), unfinished=total), clock)

    def send(self, size, *, whole=400_000):
        self.feed(get("/echo", f"Content-Length: {whole}", method="POST"), b"x" * size)
        return self
