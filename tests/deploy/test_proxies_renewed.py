"""A proxy that is told that its certificate has been renewed: Caddy and Apache, whose files say how that leaves sessions alone."""

import asyncio
import contextlib
import shutil
import signal
import ssl
from pathlib import Path

import pytest

from certificates import Authority
from processes import NOT_MEASURED
from proxies import APACHE, CADDY
from proxy import running
from waiting import TIME_LIMIT_SECONDS


async def shown_certificate(port: int) -> bytes | None:
    """The certificate that a port shows (DER); None where the connection ends, as with a configuration that goes."""
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    try:
        # Not by the module ssl alone, which leaves a socket open that is reset before the handshake.
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    except OSError:
        return None
    shown: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return shown


@pytest.mark.parametrize("proxy", [CADDY, APACHE], ids=lambda proxy: proxy.name)
async def test_a_new_certificate_is_shown_and_sessions_live_on(proxy, tool, tmp_path, clients):
    with running(proxy, tool(proxy.program), tmp_path, **NOT_MEASURED) as front:
        over_grpc = await clients.grpc(front.port, credentials=front.credentials)
        over_websocket = await clients.websocket(front.port, scheme="wss", ssl=front.tls)
        await over_grpc.ask(announce={"peer_id": "alice"})
        await over_websocket.ask("announce", peer_id="bob")

        renewed = Authority(tmp_path, "renewed").issue("localhost")
        for new, old in zip(renewed, (front.place.certificate, front.place.key), strict=True):
            shutil.copy(new, old)
        front.process.signal(signal.SIGUSR1)

        certificate = ssl.PEM_cert_to_DER_cert(await asyncio.to_thread(Path(renewed[0]).read_text, "ascii"))
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            while await shown_certificate(front.port) != certificate:
                await asyncio.sleep(0.02)
        assert "peer_list" in await over_grpc.ask(list_peers={})
        assert "result" in await over_websocket.ask("list_peers")
        # Their old configurations wait for the ends of sessions when they are ended.
        over_grpc.call.cancel()
        await over_websocket.connection.close()
