"""curl asks every port in every way that it knows: HTTP/1.1, an upgrade to h2c, prior knowledge, and TLS with ALPN."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from certificates import Authority
from processes import clean_environment
from sigbridge_server.client_script import CLIENT_PATHS, FOLDER
from waiting import TIME_LIMIT_SECONDS

HEALTH_CHECK = "/remotemedia.v1.webrtc.WebRtcSignaling/HealthCheck"
PLAIN = {"--http1.1": "1.1", "--http1.0": "1.1", "--http2": "1.1", "--http2-prior-knowledge": "2"}
"""The version in which the native engine answers without TLS; an upgrade to h2c is ignored."""
SECURE = {"--http1.1": "1.1", "--http2": "2"}
ORIGIN = "https://page.example"
CLIENT_HEADERS = {
    "content-type": "text/javascript; charset=utf-8",
    "cache-control": "no-cache",
    "access-control-allow-origin": "*",
    "x-content-type-options": "nosniff",
}


class Response(NamedTuple):
    """Response as curl has heard it."""

    version: str
    status: int
    headers: dict[str, str]
    body: bytes
    stdout: bytes
    """Output besides; the bodies of further responses."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> dict[str, str]:
    cert, key = authority.issue("localhost")
    return {"SIGNALING_TLS_CERT_FILE": cert, "SIGNALING_TLS_KEY_FILE": key}


@pytest.fixture
def curl(authority: Authority, tmp_path: Path) -> Callable[..., Response]:
    """Runs curl, which must succeed."""
    program = shutil.which("curl")
    if program is None:
        pytest.skip("curl is not installed: python3 tools/install_test_tools.py")
    if "HTTP2" not in subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout:
        pytest.skip("this curl has no HTTP/2")

    def run(*arguments: str, stdin: bytes = b"") -> Response:
        head, body = tmp_path / "head", tmp_path / "body"
        # Of a response without a body curl leaves the file as it was.
        body.unlink(missing_ok=True)
        done = subprocess.run(
            [
                *(program, "--silent", "--show-error", "--noproxy", "*", "--max-time", str(TIME_LIMIT_SECONDS)),
                *("--cacert", authority.file, "--dump-header", str(head), "--output", str(body), *arguments),
            ],
            env=clean_environment(),
            input=stdin,
            capture_output=True,
            timeout=2 * TIME_LIMIT_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        # An interim answer has a section of its own.
        first, *lines = head.read_bytes().decode("latin-1").split("\r\n\r\n")[-2].split("\r\n")
        fields = (line.partition(": ") for line in lines)
        said = body.read_bytes() if body.exists() else b""
        version, status = first.split(" ")[:2]
        return Response(
            version.removeprefix("HTTP/"),
            int(status),
            {name.lower(): value for name, _, value in fields},
            said,
            done.stdout,
        )

    return run


class Place(NamedTuple):
    """A port, and a way to ask it."""

    url: str
    option: str
    version: str


@pytest.fixture
def places(shared_servers: Callable[..., Any], certificate: dict[str, str]) -> Callable[..., list[Place]]:
    """Every port of an engine that speaks to curl, plain and with TLS, and every way to ask it."""

    def all_of(engine: str, **more: str) -> list[Place]:
        found = []
        for ways, scheme, settings in ((PLAIN, "http", {}), (SECURE, "https", certificate)):
            server = shared_servers(engine, **settings, **more)
            native = engine == "native"
            for port in [server.ws, server.grpc] if native else [server.ws]:
                for option, version in ways.items():
                    if native or option != "--http2-prior-knowledge":
                        found.append(Place(f"{scheme}://localhost:{port}", option, version if native else "1.1"))
        return found

    return all_of


def test_probes(curl: Callable[..., Response], places: Callable[..., list[Place]], engine: str) -> None:
    for url, option, version in places(engine):
        for path, body in (("/healthz", b"alive\n"), ("/readyz?x", b"ready\n")):
            response = curl(option, url + path)
            assert (response.version, response.status, response.body) == (version, 200, body), (url, option)
            response = curl(option, "--head", url + path)
            assert (response.version, response.status, response.headers["content-length"]) == (version, 200, "6")


@pytest.mark.parametrize("path", CLIENT_PATHS)
def test_the_client_for_pages(
    curl: Callable[..., Response], places: Callable[..., list[Place]], engine: str, path: str
) -> None:
    script = (FOLDER / path[1:]).read_bytes()
    for url, option, version in places(engine, SIGNALING_SERVE_CLIENT="true", GRPC_AUTH_TOKENS="secret"):
        whole = curl(option, url + path + "?v=1")
        assert (whole.version, whole.status, whole.body) == (version, 200, script), (url, option)
        assert {name: whole.headers[name] for name in CLIENT_HEADERS} == CLIENT_HEADERS
        asked = curl(option, "--head", url + path)
        assert (asked.status, asked.headers["content-length"]) == (200, str(len(script)))
        tag = whole.headers["etag"]
        for known, status in ((tag, 304), (f'"other", W/{tag}', 304), ("*", 304), ('"other"', 200)):
            again = curl(option, "--header", f"if-none-match: {known}", url + path)
            assert (again.version, again.status, len(again.body)) == (version, status, len(script) * (status == 200))
            assert (again.headers["etag"], again.headers["access-control-allow-origin"]) == (tag, "*")
            assert ("content-type" in again.headers) is (status == 200)
        assert curl(option, "--request", "POST", url + path).status == 405


def test_what_is_not_there(curl: Callable[..., Response], places: Callable[..., list[Place]], engine: str) -> None:
    for url, option, version in places(engine):
        for path, status in (("/", 404), ("/metrics", 404), ("/sigbridge.js", 404), (HEALTH_CHECK, 405)):
            response = curl(option, url + path)
            assert (response.version, response.status, "upgrade" in response.headers) == (version, status, False)


def test_grpc_web(curl: Callable[..., Response], places: Callable[..., list[Place]], engine: str) -> None:
    for url, option, version in places(engine):
        asked = ("--header", "content-type: application/grpc-web+proto", "--header", f"origin: {ORIGIN}")
        for more in ((), ("--header", "expect: 100-continue"), ("--header", "transfer-encoding: chunked")):
            if more and option == "--http1.0":
                continue
            response = curl(option, *asked, *more, "--data-binary", "@-", url + HEALTH_CHECK, stdin=bytes(5))
            assert (response.version, response.status, response.headers["content-type"]) == (
                *(version, 200, "application/grpc-web+proto"),
            ), (url, option, more)
            assert response.headers["access-control-allow-origin"] == "*"
            assert b"healthy" in response.body
            assert response.body.endswith(b"grpc-status: 0\r\n")


def test_the_question_of_a_browser(
    curl: Callable[..., Response], places: Callable[..., list[Place]], engine: str
) -> None:
    for url, option, version in places(engine):
        asked = ("--header", f"origin: {ORIGIN}", "--header", "access-control-request-method: POST")
        response = curl(option, "--request", "OPTIONS", *asked, url + HEALTH_CHECK)
        assert (response.version, response.status) == (version, 200)
        assert response.headers["access-control-allow-methods"] == "POST"


def test_many_requests_on_one_connection(
    curl: Callable[..., Response], places: Callable[..., list[Place]], engine: str
) -> None:
    for url, option, version in places(engine):
        # With prior knowledge curl 7.88 uses no connection twice (curl/curl#10634).
        if option not in ("--http1.0", "--http2-prior-knowledge"):
            response = curl(option, "--write-out", "%{num_connects}\\n", *[f"{url}/healthz"] * 3)
            assert (response.version, response.status) == (version, 200)
            assert response.stdout == b"1\nalive\n0\nalive\n0\n"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_operators_port_speaks_http1(
    curl: Callable[..., Response], serve: Callable[..., Any], certificate: dict[str, str], engine: str, scheme: str
) -> None:
    settings = certificate if scheme == "https" else {}
    server = serve(engine, HTTP_BIND_ADDRESS="127.0.0.1:0", **settings)
    response = curl("--http2", f"http://localhost:{server.http}/metrics")
    assert (response.version, response.status) == ("1.1", 200)
    assert b"sigbridge_" in response.body
