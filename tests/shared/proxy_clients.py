"""Clients of what a proxy passes on, beside those of the fixture `clients`; each has a connection of its own."""

import contextlib
import socket
import ssl
import struct
import subprocess
import urllib.request
import warnings
from collections.abc import Awaitable

from http2_bytes import ACK, PREFACE, SETTINGS, frames_of, settings
from proxy import Front, program_path
from sigbridge_client import SignalingClient, connect
from sigbridge_grpc.service import SERVICE_NAME
from waiting import TIME_LIMIT_SECONDS

TOKEN = "a-token-of-the-test"
BEARER = (("authorization", f"Bearer {TOKEN}"),)
SUBPROTOCOLS = ["jsonrpc", "bearer.YS10b2tlbi1vZi10aGUtdGVzdA"]
"""The token as a browser shows it."""
MAX_CONCURRENT_STREAMS = 3
"""The number of a setting of HTTP/2 (RFC 9113, section 6.5.2)."""


def open_session(front: Front, protocol: str) -> Awaitable[SignalingClient]:
    """A session by the client of a protocol, with the token."""
    return connect(front.url(protocol), token=TOKEN, root_certificates=front.authority.pem, resume=False)


def grpc_web_health(front: Front, content_type: str) -> None:
    """Asks by gRPC-Web, on a connection of its own, how the server is; raises where that is not answered."""
    headers = {"content-type": content_type, "authorization": f"Bearer {TOKEN}"}
    fields, body = http_response(front, "POST", headers, bytes(5))
    assert fields["content-type"] == content_type
    assert b"healthy" in body
    assert body.endswith(b"grpc-status: 0\r\n")


def http_response(
    front: Front, method: str, headers: dict[str, str], data: bytes | None = None
) -> tuple[dict[str, str], bytes]:
    """The fields, by names in small letters, and the body that answer a request to the path of `HealthCheck`."""
    url = f"https://{front.target}/{SERVICE_NAME}/HealthCheck"
    question = urllib.request.Request(url, data=data, headers=headers, method=method)
    https = urllib.request.HTTPSHandler(context=front.tls)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), https)
    with opener.open(question, timeout=TIME_LIMIT_SECONDS) as response:
        return {name.lower(): value for name, value in response.headers.items()}, response.read()


def curl(front: Front, options: list[str], *paths: str) -> str:
    """The heads and bodies that answer requests on one connection."""
    program = program_path("curl")
    assert program is not None
    usual = ["--silent", "--show-error", "--include", "--noproxy", "*", "--cacert", front.authority.file]
    words = [program, *usual, *options, *(f"https://{front.target}{path}" for path in paths)]
    done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def speaks(front: Front, version: ssl.TLSVersion) -> bool:
    """Returns True where the proxy takes part in a handshake of this version of TLS alone."""
    tls = front.tls
    tls.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        tls.minimum_version = tls.maximum_version = version
    with (
        contextlib.suppress(ssl.SSLError, ConnectionError),
        socket.create_connection(("127.0.0.1", front.port), TIME_LIMIT_SECONDS) as raw,
        tls.wrap_socket(raw, server_hostname="localhost"),
    ):
        return True
    return False


def http2_settings(front: Front) -> dict[int, int]:
    """The settings of HTTP/2 with which the proxy begins, by their numbers."""
    tls = front.tls
    tls.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", front.port), TIME_LIMIT_SECONDS) as raw,
        tls.wrap_socket(raw, server_hostname="localhost") as connection,
    ):
        connection.sendall(PREFACE + settings())
        data = b""
        while not (found := [frame for frame in frames_of(data) if frame[0] == SETTINGS and not frame[1] & ACK]):
            part = connection.recv(65536)
            assert part, data
            data += part
    return dict(struct.iter_unpack("!HI", found[0][3]))
