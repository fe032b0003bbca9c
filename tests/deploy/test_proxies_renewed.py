"""A proxy that is told that its certificate has been renewed: Caddy and Apache, whose files say how that leaves sessions alone."""

import asyncio
import contextlib
import shutil
import signal
import ssl
from pathlib import Path

import pytest

from certificates import Authority, shown_certificate
from processes import NOT_MEASURED
from proxies import APACHE, CADDY
from proxy import running
from waiting import wait_until


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

        def shows_it() -> bool:
            with contextlib.suppress(OSError):  # a connection to the old configuration, which goes
                return shown_certificate(front.port) == certificate
            return False

        await asyncio.to_thread(wait_until, shows_it, "the new certificate is shown")
        assert "peer_list" in await over_grpc.ask(list_peers={})
        assert "result" in await over_websocket.ask("list_peers")
        # Their old configurations wait for the ends of sessions when they are ended.
        over_grpc.call.cancel()
        await over_websocket.connection.close()
