"""The page on ICE servers: its settings fit coturn's configuration, and its examples are what a server really gives."""

import json
import re
from pathlib import Path

from sigbridge import Settings
from sigbridge.ice_servers import IceStock, ice_servers_in
from sigbridge_net.ice_files import IceFiles

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "ice-servers.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
COTURN = (ROOT / "deploy" / "coturn" / "turnserver.conf").read_text(encoding="utf-8")
SECRET = re.compile(r"`(\w+)` in the secret file")
ENVIRON = dict(
    line.split("=", 1) for line in next(text for _, text in BLOCKS if "SIGNALING_TURN_URLS=" in text).splitlines()
)
EXAMPLES = [json.loads(text) for kind, text in BLOCKS if kind == "json"]


def given(tmp_path):
    """Returns the servers that a server gives alice with the settings and the secret of the page."""
    (secret,) = SECRET.findall(PAGE)
    file = tmp_path / "secret"
    file.write_text(f"{secret}\n")
    stocks: list[IceStock] = []
    IceFiles(Settings.from_environment(ENVIRON | {"SIGNALING_TURN_SECRET_FILE": str(file)}), stocks.append)
    (stock,) = stocks
    return stock.servers_for("alice", 1767312000 - float(ENVIRON["SIGNALING_TURN_TTL_SEC"]))


def test_the_settings_of_the_page_give_what_it_shows(tmp_path):
    stun, turn = given(tmp_path).servers
    assert stun == {"urls": "stun:turn.example.org:3478"}
    assert turn == EXAMPLES[0]
    assert turn["credential"] in PAGE.partition("## What a client does")[2]


def test_the_settings_of_the_page_are_settings():
    settings = Settings.from_environment(ENVIRON)
    assert settings.turn_secret_file
    assert settings.turn_ttl_seconds == Settings().turn_ttl_seconds


def test_servers_that_are_set_as_they_are_may_be_set():
    assert list(ice_servers_in(json.dumps(EXAMPLES[1]))) == EXAMPLES[1]


def test_coturn_listens_where_clients_are_sent():
    ports = set(re.findall(r"^(?:tls-)?listening-port=(\d+)$", COTURN, flags=re.MULTILINE))
    assert ports == {url.partition("?")[0].rpartition(":")[2] for url in ENVIRON["SIGNALING_TURN_URLS"].split(",")}
