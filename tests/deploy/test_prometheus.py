"""Prometheus itself scrapes a running server: it answers every query of the dashboard, and takes the alert rules."""

import asyncio
import datetime
import json
import re
import subprocess
import urllib.parse
from pathlib import Path

import pytest
import yaml

from certificates import Authority
from free_ports import free_port
from sigbridge import DisconnectReason
from sigbridge.counters import HELD_ENDS, RESUMES_OF_KNOWN, TAKEOVERS, TCP_REFUSALS
from sigbridge.disconnects import REFUSALS
from waiting import wait_until

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "sigbridge.json").read_text(encoding="utf-8"))
PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def queries():
    """Every query of the dashboard, as Prometheus gets it from Grafana."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            expression = (
                target["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*").replace("$job", ".*")
            )
            assert "$" not in expression, panel["title"]
            yield pytest.param(expression, id=f"{panel['title']} {target['refId']}")


async def some_traffic(server, clients, room):
    """Relays between all pairings, refused requests, and sessions that end; four peers stay."""
    sessions = {
        "g1": await clients.grpc(server.grpc),
        "g2": await clients.grpc(server.grpc),
        "w1": await clients.websocket(server.ws),
        "w2": await clients.websocket(server.ws),
    }

    async def ask(name, method, **params):
        if name.startswith("g"):
            await sessions[name].ask(**{method: params})
        else:
            await sessions[name].ask(method, **params)

    for name in sessions:
        await ask(name, "announce", peer_id=name, room=room)
    for caller in sessions:
        for callee in sessions:
            if caller != callee:
                await ask(caller, "offer", to_peer_id=callee, sdp="v=0")
                await ask(callee, "answer", to_peer_id=caller, sdp="v=0")
                await ask(caller, "ice_candidate", to_peer_id=callee, candidate="")
        await ask(caller, "offer", to_peer_id="nobody", sdp="v=0")
        await ask(caller, "list_peers")
    for session in (await clients.grpc(server.grpc), await clients.websocket(server.ws)):
        if hasattr(session, "connection"):
            await session.connection.close()
        else:
            await session.ask(list_peers={})
            await session.call.done_writing()
            assert await session.call.code() is not None


@pytest.fixture
def prometheus(run, tool, tmp_path, fetch_json):
    """Start Prometheus as deploy/ configures it, but for where the server is and how often it looks."""
    program = tool("prometheus")

    def start(*servers):
        configuration = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
        configuration["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
        configuration["rule_files"] = [str(ALERTS)]
        configuration["scrape_configs"][0]["static_configs"] = [
            {"targets": [f"127.0.0.1:{server.http}" for server in servers]}
        ]
        path = tmp_path / "prometheus.yml"
        path.write_text(yaml.safe_dump(configuration), encoding="utf-8")
        port = free_port()
        running = run(
            program,
            f"--config.file={path}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        )

        def ask(path, **parameters):
            response = fetch_json(f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
            assert response["status"] == "success"
            return response["data"]

        def ready():
            assert running.running, running.stderr
            try:
                return len(ask("query", query="up == 1")["result"]) == len(servers)
            except OSError:
                return None

        wait_until(ready, "Prometheus has scraped")
        return ask

    return start


async def test_prometheus_scrapes_it_and_every_query_of_the_dashboard_returns_series(
    serve, secure, clients, prometheus, subtests
):
    server = serve()
    ask = await asyncio.to_thread(prometheus, server, serve(**secure))
    await some_traffic(server, clients, "first")
    assert server.metrics()["grpc_webrtc_signaling_peers_total"] == 4

    def response(query):
        return ask("query", query=query)["result"]

    async def series_of(query):
        """Returns the series of a query: after a look that took too long there are none until the next."""
        return await asyncio.to_thread(wait_until, lambda: response(query), query, 20.0)

    # A rate is seen where a series has grown since it was seen first.
    ended = 'sigbridge_disconnects_total{protocol="grpc"}'
    await asyncio.to_thread(wait_until, lambda: response(f"{ended} == 1"), "Prometheus has seen the first half")
    await some_traffic(server, clients, "second")
    await asyncio.to_thread(
        wait_until, lambda: response(f"rate({ended}[1m]) > 0"), "Prometheus has seen the second half"
    )
    for parameters in queries():
        (query,) = parameters.values
        with subtests.test(msg=parameters.id, query=query):
            series = await series_of(query)
            assert all(sample["value"][1] != "NaN" for sample in series)

    peers = await series_of("sum(grpc_webrtc_signaling_peers_total) == 8")
    assert peers[0]["value"][1] == "8"
    relays = await series_of("sum by (from_protocol, to_protocol) (sigbridge_relays_total)")
    assert len(relays) == 4
    rules = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
    assert len(rules) == len(yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"][0]["rules"])
    assert all(rule["health"] in ("ok", "unknown") for rule in rules)
    # On a busy machine the server is late indeed.
    assert {rule["name"] for rule in rules if rule["state"] == "firing"} <= {"SigbridgeEventLoopLate"}


def test_prometheus_notices_that_the_server_is_gone(serve, prometheus):
    server = serve()
    ask = prometheus(server)
    server.stop()
    wait_until(lambda: ask("query", query='ALERTS{alertname="SigbridgeDown"}')["result"], "the alert is pending")


def test_promtool_takes_the_rules_and_the_configuration(tool):
    for command in (("check", "rules", ALERTS), ("check", "config", DEPLOY / "prometheus" / "prometheus.yml")):
        done = subprocess.run(
            [tool("promtool"), *command], capture_output=True, text=True, timeout=60, check=False, cwd=ALERTS.parent
        )
        assert done.returncode == 0, done.stderr


def test_promtool_finds_that_the_alerts_fire_when_they_should(tool):
    done = subprocess.run(
        [tool("promtool"), "test", "rules", "alerts.test.yml"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parent,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# Names.


@pytest.fixture
def secure(tmp_path):
    """The settings of a server with TLS."""
    certificate, key = Authority(tmp_path).issue("server", lasts=datetime.timedelta(days=90))
    return {"SIGNALING_TLS_CERT_FILE": certificate, "SIGNALING_TLS_KEY_FILE": key}


@pytest.fixture
async def exposed(serve, secure, clients):
    """The names that `/metrics` exposes after some traffic, those of a histogram's series included; and with TLS."""
    server = serve()
    await some_traffic(server, clients, "")
    return {series.partition("{")[0] for one in (server, serve(**secure)) for series in one.metrics()}


def named_in_queries():
    found = set()
    for text in (json.dumps(DASHBOARD), ALERTS.read_text(encoding="utf-8")):
        found |= set(re.findall(r"\b((?:grpc_webrtc_signaling|sigbridge|process)_[a-z_]+)\b", text))
    return found


async def test_the_dashboard_and_the_alerts_name_metrics_that_are_there(exposed):
    assert len(named_in_queries()) > 15
    assert named_in_queries() <= exposed


async def test_the_page_explains_every_metric_and_no_other(exposed):
    ours = {
        re.sub(r"_(bucket|count|sum)$", "", name)
        for name in exposed
        if name.startswith(("sigbridge_", "grpc_webrtc_signaling_"))
    }
    explained = set(re.findall(r"^\| `([a-z_]+)", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert {name for name in explained if name.startswith(("sigbridge_", "grpc_webrtc_signaling_"))} == ours
    assert {name for name in explained if name.startswith(("process_", "python_"))} <= exposed


def test_every_panel_says_what_it_shows():
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    for panel in DASHBOARD["panels"]:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["datasource"]["uid"] == "${datasource}"


def test_no_query_is_bound_to_the_name_of_a_job():
    """But the one that notices a server which was never there; the dashboard lets people choose."""
    assert 'job=\\"' not in json.dumps(DASHBOARD)
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["job"]["includeAll"]
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            assert target["expr"].count('job=~"$job"') == target["expr"].count('instance=~"$instance"') > 0
    rules = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"][0]["rules"]
    assert [rule["alert"] for rule in rules if "job=" in rule["expr"]] == ["SigbridgeDown"]


def test_the_alerts_and_the_page_know_the_words_that_there_are():
    of_tcp = {word for _, word in TCP_REFUSALS}
    words = {reason.word for reason in DisconnectReason} | set(REFUSALS) | of_tcp
    for rule in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"][0]["rules"]:
        for _, values in re.findall(r'reason(=~?)"([^"]+)"', rule["expr"]):
            assert set(values.split("|")) <= words, rule["alert"]
        for _, values in re.findall(r'\bend(=~?)"([^"]+)"', rule["expr"]):
            assert set(values.split("|")) <= set(HELD_ENDS), rule["alert"]
    page = PAGE.read_text(encoding="utf-8")
    for word in (*REFUSALS, *of_tcp, *HELD_ENDS, *RESUMES_OF_KNOWN, *TAKEOVERS):
        assert f"`{word}`" in page, word
