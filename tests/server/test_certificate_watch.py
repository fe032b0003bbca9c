"""The end of the server's certificate: told 30 days before, then daily, and when it has come."""

import datetime
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from certificates import Authority
from clock import Clock
from served import ANY_PORT
from sigbridge import Settings
from sigbridge_net.tls import ServerTls
from sigbridge_server.certificate_watch import CHECK_SECONDS, CertificateWatch, Nearness, nearness
from sigbridge_server.server import Server
from waiting import until

DAY = 86400.0
END = 1_900_000_000.0


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        (31 * DAY, Nearness.FINE),
        (30 * DAY + 1, Nearness.FINE),
        (30 * DAY, Nearness.ENDING),
        (0.5, Nearness.ENDING),
        (0.0, Nearness.EXPIRED),
        (-DAY, Nearness.EXPIRED),
    ],
)
def test_how_far_an_end_is(left, expected):
    assert nearness(END, END - left) is expected


class Watched:
    """A watch of a certificate that ends when a test says, and what it has said."""

    def __init__(self, caplog, left):
        self.clock = Clock()
        self.tls = SimpleNamespace(present=SimpleNamespace(not_after=None), paths=("cert.pem", "key.pem"))
        self.ends_in(left)
        self.watch = CertificateWatch(self.tls, clock=lambda: self.clock.now)
        self.caplog = caplog

    def ends_in(self, left):
        self.tls.present.not_after = None if left is None else self.clock.now.unix + left

    def said(self):
        self.caplog.clear()
        self.watch.check()
        return [(line.levelname, line.getMessage(), vars(line).get("days")) for line in self.caplog.records]


@pytest.fixture
def watched(caplog):
    return lambda left: Watched(caplog, left)


def test_a_certificate_is_told_of_daily_from_thirty_days_before_its_end(watched):
    one = watched(30 * DAY + CHECK_SECONDS)
    assert one.said() == []
    one.clock.advance(CHECK_SECONDS)
    for days in range(30, 0, -1):
        assert one.said() == [("WARNING", "the certificate ends soon", days)]
        one.clock.advance(DAY - CHECK_SECONDS)
        assert one.said() == []
        one.clock.advance(CHECK_SECONDS)
    assert one.said() == [("ERROR", "the certificate has expired", None)]
    one.clock.advance(DAY - 1)
    assert one.said() == []
    one.clock.advance(1)
    assert one.said() == [("ERROR", "the certificate has expired", None)]


def test_an_expired_one_is_said_at_once_and_a_later_one_ends_that(watched):
    one = watched(-1)
    assert one.said() == [("ERROR", "the certificate has expired", None)]
    one.ends_in(90 * DAY)
    assert one.said() == []
    # Another one that ends soon is another one to be told of, however soon.
    one.ends_in(5 * DAY)
    assert one.said() == [("WARNING", "the certificate ends soon", 5)]
    one.ends_in(6 * DAY)
    assert one.said() == [("WARNING", "the certificate ends soon", 6)]


def test_one_whose_end_is_not_known_is_not_judged(watched):
    assert watched(None).said() == []


@pytest.mark.parametrize("chain", [False, True])
def test_the_end_is_the_servers_own_certificates(tmp_path, chain):
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server", lasts=datetime.timedelta(days=7))
    if chain:
        Path(certificate).write_bytes(Path(certificate).read_bytes() + authority.pem)
    now = datetime.datetime.now(datetime.UTC).timestamp()
    end = ServerTls(Settings(tls_cert_file=certificate, tls_key_file=key)).present.not_after
    assert 6.9 * DAY < end - now <= 7 * DAY


@pytest.mark.parametrize("engine", ["native", "grpcio"])
async def test_a_certificate_that_is_read_again_has_its_own_end(tmp_path, engine, caplog):
    caplog.set_level(logging.INFO)
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server", lasts=datetime.timedelta(hours=-2))
    server = Server(Settings(**ANY_PORT | {"grpc_engine": engine}, tls_cert_file=certificate, tls_key_file=key))
    await server.start()
    try:

        def metric():
            text = server._pages["/metrics"]().body.decode()
            (line,) = (one for one in text.splitlines() if one.startswith("sigbridge_certificate_not_after_seconds "))
            return float(line.split()[1])

        old = metric()
        assert [line.levelname for line in caplog.records if line.getMessage() == "the certificate has expired"] == [
            "ERROR"
        ]
        (started,) = (line for line in caplog.records if line.getMessage() == "started")
        when = datetime.datetime.fromtimestamp(old, datetime.UTC)
        assert datetime.datetime.fromisoformat(started.certificate_not_after) == when
        authority.issue("server", lasts=datetime.timedelta(days=60))
        server.reload()
        await until(lambda: metric() > old)
        assert metric() - old > 60 * DAY
        caplog.clear()
        server._certificate.check()
        assert caplog.records == []
    finally:
        await server.stop()
