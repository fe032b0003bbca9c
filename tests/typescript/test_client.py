"""The TypeScript client's own tests, and those that it plays with a real server."""

import pytest

from certificates import Authority
from server_process import ServerProcess

ENGINES = ("native", "grpcio")
TOKEN = "a-token-of-the-test"


@pytest.fixture
def serve():
    servers = []

    def serve(engine, **settings):
        servers.append(ServerProcess(GRPC_ENGINE=engine, HTTP_BIND_ADDRESS="off", **settings))
        return servers[-1].ready()

    yield serve
    for server in servers:
        server.stop()
        assert "Traceback" not in "".join(server.stderr)


def addresses(server, s=""):
    return {"SIGBRIDGE_GRPC": f"grpc{s}://127.0.0.1:{server.grpc}", "SIGBRIDGE_WS": f"ws{s}://127.0.0.1:{server.ws}"}


def test_its_own_tests_pass(play):
    play("")


@pytest.mark.parametrize("engine", ENGINES)
def test_it_speaks_to_a_server(play, serve, engine):
    play("server", **addresses(serve(engine)))


@pytest.mark.parametrize("engine", ENGINES)
def test_it_shows_a_token(play, serve, engine):
    play("server", **addresses(serve(engine, GRPC_AUTH_TOKENS=TOKEN)), SIGBRIDGE_TOKEN=TOKEN)


@pytest.mark.parametrize("engine", ENGINES)
def test_it_trusts_and_shows_certificates(play, serve, engine, tmp_path):
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server")
    authority.issue("client")
    tls = {
        "SIGNALING_TLS_CERT_FILE": certificate,
        "SIGNALING_TLS_KEY_FILE": key,
        "SIGNALING_TLS_CLIENT_CA_FILE": authority.file,
    }
    play("server", **addresses(serve(engine, **tls), "s"), SIGBRIDGE_CERTIFICATES=str(tmp_path))
