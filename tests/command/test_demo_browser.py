"""The demo's half of a page: where it is opened, what it is served, and what of its reports is taken."""

import http.client
import json
import os
import signal
import stat
import sys
import threading

import pytest

from page_commands import shell
from sigbridge_command import demo, demo_browser
from sigbridge_command.demo_browser import PAGE, PageReport, PageServer, described_json, has_display
from waiting import TIME_LIMIT_SECONDS, until, wait_until


@pytest.mark.parametrize(
    ("environ", "has"),
    [
        ({}, False),
        ({"DISPLAY": ":0"}, True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, True),
        ({"DISPLAY": "", "WAYLAND_DISPLAY": ""}, False),
        ({"DISPLAY": ":0", "CI": "true"}, False),
    ],
)
def test_a_page_is_opened_where_there_is_a_display_and_never_on_ci(environ, has):
    assert has_display(environ) is has


@pytest.mark.parametrize(("ci", "opened"), [("", True), ("true", False)])
async def test_the_address_that_is_printed_is_opened(ci, opened, tmp_path):
    pytest.importorskip("aiortc")
    browser, told = tmp_path / "browser", tmp_path / "told"
    browser.write_text(f'#!/bin/sh\necho "$1" >{told}.part\nmv {told}.part {told}\n')
    browser.chmod(browser.stat().st_mode | stat.S_IXUSR)
    command = f"exec {sys.executable} -m sigbridge_command demo --pairing browser-grpc"
    async with shell(command, BROWSER=f"{browser} %s", DISPLAY=":0", CI=ci) as demo:
        url = (await demo.says(r"page: +(\S+) "))[1]
        if opened:
            await until(told.exists)
            assert told.read_text() == f"{url}\n"
        else:
            await demo.says("announce backend")
        os.kill(demo.process.pid, signal.SIGINT)
        assert await demo.ended() == 130
        assert demo.stderr == "sigbridge demo: stopped\n"
    assert told.exists() is opened


LISTENING = "print('gRPC listening on 127.0.0.1:9'); print('WebSocket listening on 127.0.0.1:9', flush=True)"
HEARD = """print('{"at": 1.0, "role": "callee", "what": "sound", "text": "a sound"}', flush=True)"""


@pytest.mark.parametrize(
    ("server", "backend", "says"),
    [
        ("signal.pause()", HEARD, "the page has hung up, and had not heard the backend\n"),
        ("signal.pause()", "", "the backend ended with exit code 0 and without a sound from the page\n"),
        ("signal.pause()", "sys.exit('no route')", "the backend ended with exit code 1 and without a sound from the page\n  no route\n"),
        ("sys.exit(3)", "signal.pause()", "the server ended with exit code 3\n"),
    ],
)  # fmt: skip
def test_a_demo_in_which_one_hears_nothing_fails(server, backend, says, monkeypatch, capsys):
    pytest.importorskip("aiortc")
    monkeypatch.setenv("CI", "true")
    monkeypatch.setattr(demo_browser, "SERVE", (sys.executable, "-c", f"import signal, sys; {LISTENING}; {server}"))
    monkeypatch.setattr(demo_browser, "BACKEND", (sys.executable, "-c", f"import signal, sys; {backend}"))
    assert demo.run_demo(("browser", "grpc")) == 1
    assert capsys.readouterr().err == f"sigbridge demo: {says}"


def test_a_browser_that_returns_when_it_is_closed_does_not_hold_the_demo_up(monkeypatch, capsys):
    pytest.importorskip("aiortc")
    may_close, opened = threading.Event(), []

    def open_page(url):
        opened.append(url)
        assert may_close.wait(TIME_LIMIT_SECONDS)
        opened.append("closed")

    monkeypatch.setattr(demo_browser.webbrowser, "open", open_page)
    monkeypatch.setenv("CI", "")
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(demo_browser, "SERVE", (sys.executable, "-c", f"import signal; {LISTENING}; signal.pause()"))
    monkeypatch.setattr(demo_browser, "BACKEND", (sys.executable, "-c", HEARD))
    assert demo.run_demo(("browser", "grpc")) == 1
    wait_until(lambda: opened, "the page is opened, by a thread")
    assert len(opened) == 1
    may_close.set()
    assert "had not heard the backend" in capsys.readouterr().err


@pytest.fixture
def served():
    reports = []
    server = PageServer(b"<title>a page</title>", reports.append)
    with server.serving():
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=TIME_LIMIT_SECONDS)

        def ask(method, path, body=None, **headers):
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            text = response.read()
            connection.close()
            return response.status, text

        yield server, reports, ask


def report(**members):
    return json.dumps({"at": 1767225600000.5, "what": "sound", "text": "a tone"} | members)


def test_the_page_is_served_and_nothing_else(served):
    _, _, ask = served
    assert ask("GET", "/") == (200, b"<title>a page</title>")
    for path in ("/reports", "/demo_page.html", "/../demo.py"):
        assert ask("GET", path)[0] == 404


def test_a_report_of_the_page_is_taken_and_no_other(served):
    server, reports, ask = served
    own = {"Origin": server.origin}
    assert ask("POST", "/reports", report(), **own)[0] == 204
    assert ask("POST", "/reports", report())[0] == 403
    assert ask("POST", "/reports", report(), Origin="http://elsewhere.example")[0] == 403
    for wrong in ("", "no JSON", "[]", report(what="opened"), report(at="soon"), report(text=None)):
        assert ask("POST", "/reports", wrong, **own)[0] == 400
    assert ask("POST", "/reports", b"", **own, **{"Content-Length": str(1 << 30)})[0] == 413
    assert ask("POST", "/reports", b"", **own, **{"Content-Length": "-1"})[0] == 413
    assert reports == [PageReport(1767225600000.5, "sound", "a tone")]


def test_the_page_has_the_usual_address_which_the_demo_replaces():
    page = PAGE.read_text(encoding="utf-8")
    assert page.count(demo_browser._ADDRESS_IN_PAGE) == page.count("127.0.0.1") == 3


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ('{"jsonrpc":"2.0","id":1,"method":"announce","params":{"peer_id":"page-1"}}', "announce page-1"),
        ('{"jsonrpc":"2.0","id":1,"method":"offer","params":{"to_peer_id":"b","sdp":"v=0\\r\\n"}}', "offer, 0.0 kB"),
        ('{"id":1,"method":"ice_candidate","params":{"candidate":"candidate:1 1 udp 1 127.0.0.1 9 typ host"}}', "ice_candidate, port 9"),
        ('{"id":1,"method":"ice_candidate","params":{"candidate":""}}', "ice_candidate, no more"),
        ('{"id":1,"method":"list_peers","params":{}}', "list_peers"),
        ('{"id":1,"result":{"peer_id":"page-1","peers_count":1,"other_peers":["backend"]}}', "ack, 1 here before"),
        ('{"id":1,"result":{"offer_id":"a_b_1","to_peer_id":"b"}}', "ack, offer relayed"),
        ('{"id":1,"result":{}}', "ack"),
        ('{"id":1,"error":{"code":-32000,"message":"Peer not found: b"}}', "refused"),
        ("no JSON", "no JSON"),
        ("[]", "no JSON"),
        ('{"method":{},"params":[]}', "ack"),
        ('{"method":"x\\u001b[2J"}', "x\x1b[2J"),
    ],
)  # fmt: skip
def test_what_is_drawn_of_a_message(text, drawn):
    assert described_json(text) == drawn
