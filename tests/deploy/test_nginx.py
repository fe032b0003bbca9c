"""nginx as deploy/nginx/nginx.conf configures it: what `test_proxies.py` does not look at behind every proxy."""

import asyncio
import contextlib
import http.client
import re
import resource
from pathlib import Path

import pytest

from proxies import NGINX
from proxy import running
from sigbridge_client import ConnectionClosed, connect
from sigbridge_grpc.service import SERVICE_NAME
from waiting import TIME_LIMIT_SECONDS, wait_until

TOKEN = "a-token-of-the-test"


def test_its_timeouts_leave_a_silent_stream_alone():
    text = re.sub(r"#.*", "", NGINX.configuration.read_text(encoding="utf-8"))
    directives = dict(re.findall(r"^\s*(\w+)\s+([^;{]+);", text, flags=re.MULTILINE))
    for name in ("grpc_read_timeout", "grpc_send_timeout", "client_body_timeout", "keepalive_time"):
        assert directives[name] == "1d"
    assert directives["client_max_body_size"] == "0"
    # A WebSocket is pinged after 20 s of silence, and given up after 20 more.
    assert int(directives["proxy_read_timeout"].removesuffix("s")) > 40


@pytest.fixture
def usual_descriptors():
    """The file descriptors that most systems let a process have, unless it asks for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("usual_descriptors")
def test_it_asks_for_as_many_descriptors_as_it_has_connections(tool, tmp_path):
    with running(NGINX, tool("nginx"), tmp_path) as front:
        master = Path(f"/proc/{front.process.pid}")
        (worker,) = (master / "task" / master.name / "children").read_text("ascii").split()
        limits = Path(f"/proc/{worker}/limits").read_text("ascii")
    found = re.search(r"^Max open files +(\d+)", limits, re.MULTILINE)
    assert found is not None
    assert int(found[1]) > 8192


@pytest.mark.parametrize(
    ("path", "content_type"),
    [("/", "text/plain"), (f"/{SERVICE_NAME}/GetPeers", "application/grpc-web+proto")],
    ids=["any path", "gRPC-Web"],
)
def test_it_keeps_no_large_body_of_whoever_asks(path, content_type, tool, tmp_path):
    with running(NGINX, tool("nginx"), tmp_path) as front:
        asking = http.client.HTTPSConnection("localhost", front.port, timeout=TIME_LIMIT_SECONDS, context=front.tls)
        with contextlib.closing(asking):
            asking.putrequest("POST", path)
            asking.putheader("content-type", content_type)
            asking.putheader("content-length", str(1 << 40))
            # Nothing of it is sent: who refuses it does not wait for it.
            asking.endheaders()
            assert asking.getresponse().status == 413


async def test_tokens_of_a_file_pass_and_stand_in_no_log_of_nginx(tool, tmp_path):
    tokens = tmp_path / "tokens.jsonl"
    tokens.write_text(f'{{"token": "{TOKEN}", "subject": "alice", "peer_ids": ["alice"]}}\n')
    with running(NGINX, tool("nginx"), tmp_path, SIGNALING_TOKENS_FILE=str(tokens)) as front:
        access = {"root_certificates": front.authority.pem}
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            for protocol in ("grpc", "websocket"):
                async with await connect(front.url(protocol), token=TOKEN, **access) as alice:
                    await alice.announce("alice")
                with pytest.raises(ConnectionClosed) as refused:
                    await connect(front.url(protocol), token="another", **access)
                assert refused.value.reason == "unauthenticated"
            await asyncio.to_thread(wait_until, (tmp_path / "access.log").read_text, "nginx has logged")
    for log in ("access.log", "error.log"):
        assert TOKEN not in (tmp_path / log).read_text()
