"""The page on TURN and the configuration that it shows, as an operator uses them: only the place is changed."""

import re
import signal
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from certificates import Authority, shown_certificate
from processes import clean_environment
from proxy import program_path
from sigbridge import Settings
from sigbridge_net.ice_files import IceFiles
from turn_allocations import Refused, allocated, exchange, is_taken
from turn_server import Place, StartTurnServer, TurnServer, signed, turnadmin_in
from waiting import TIME_LIMIT_SECONDS, wait_until

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "turn.md").read_text("utf-8")
CONFIGURATION = (ROOT / "deploy" / "coturn" / "turnserver.conf").read_text("utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SECRET = "the secret of today"
LETS_LOOPBACK_IN = {"denied-peer-ip=127.0.0.0-127.255.255.255": "allow-loopback-peers"}


def block(holds: str) -> str:
    """The one block of commands of the page that holds a text."""
    (found,) = (text for text in BLOCKS if holds in text)
    return found


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


@pytest.fixture
def start_of_page(start_turn_server: StartTurnServer, authority: Authority) -> Callable[..., TurnServer]:
    """Start coturn with the file of `deploy/`; `changes` are made beside those for its place."""
    certificate, key = authority.issue("localhost", file="turn")

    def start(changes: dict[str, str]) -> TurnServer:
        def text_at(place: Place) -> str:
            text = CONFIGURATION
            for said, meant in {
                "#listening-ip=203.0.113.5": "listening-ip=127.0.0.1",
                "#relay-ip=203.0.113.5": "relay-ip=127.0.0.1",
                "\nlistening-port=3478": f"\nlistening-port={place.port}",
                "tls-listening-port=5349": f"tls-listening-port={place.tls_port}",
                "min-port=49152": f"min-port={place.relay_ports[0]}",
                "max-port=65535": f"max-port={place.relay_ports[-1]}",
                "#static-auth-secret=CHANGE-ME": f"static-auth-secret={SECRET}",
                "userdb=/var/lib/turn/turndb": f"userdb={place.folder / 'turndb'}",
                "cert=/etc/coturn/tls/fullchain.pem": f"cert={certificate}",
                "pkey=/etc/coturn/tls/privkey.pem": f"pkey={key}",
            }.items():
                if said not in changes:
                    assert text.count(said) == 1, said
                    text = text.replace(said, meant)
            for said, meant in changes.items():
                assert text.count(said) == 1, said
                text = text.replace(said, meant)
            return text

        return start_turn_server.of(text_at)

    return start


def in_shell(commands: str, server: TurnServer, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs commands of the page with the server in place of the one that they name."""
    tools = program_path("turnutils_uclient")
    assert tools is not None
    for said, meant in {
        "turn.example.org:5349": f"127.0.0.1:{server.tls_port}",
        "-p 3478 turn.example.org": f"-p {server.port} 127.0.0.1",
        "/etc/sigbridge/": f"{folder}/",
        "/var/lib/turn/turndb": str(server.folder / "turndb"),
        "sudo -u turnserver ": "",
    }.items():
        commands = commands.replace(said, meant)
    environment = clean_environment(**variables)
    environment["PATH"] = f"{turnadmin_in(folder / 'bin').parent}:{Path(tools).parent}:{environment['PATH']}"
    return subprocess.run(
        ["bash", "-euc", commands],
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_SECONDS,
        check=False,
    )


def test_the_page_speaks_of_what_the_file_says() -> None:
    for name in re.findall(r"^\| `([a-z-]+)[`=]", PAGE, re.MULTILINE):
        assert re.search(rf"^#?{name}\b", CONFIGURATION, re.MULTILINE), name


async def test_the_configuration_relays_for_who_has_signed_credentials(
    start_of_page: Callable[..., TurnServer], authority: Authority
) -> None:
    server = start_of_page(LETS_LOOPBACK_IN)
    tls = ssl.create_default_context(cafile=authority.file)
    tls.check_hostname = False
    username, credential = signed(SECRET, "alice")
    async with (
        allocated(server, username, credential) as one,
        allocated(server, username, credential, tls=tls, port=server.tls_port) as other,
        allocated(server, username, credential, transport="tcp") as third,
    ):
        await exchange(one, other)
        await exchange(one, third)
    assert not await is_taken(server, *signed("CHANGE-ME", "alice"))
    assert not server.said("Unknown") + server.said("unrecognized") + server.said("Bad configuration")


async def test_the_configuration_relays_to_no_network_of_its_own(start_of_page: Callable[..., TurnServer]) -> None:
    server = start_of_page({})
    async with allocated(server, *signed(SECRET, "alice")) as one:
        for address in (
            "127.0.0.1",
            "10.1.2.3",
            "100.100.1.1",
            "169.254.169.254",
            "172.20.0.1",
            "192.0.0.8",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "0.0.0.0",
        ):
            with pytest.raises(Refused) as refused:
                await one.permit((address, 9))
            assert refused.value.code == 403, address
        # Asked for alone: nothing is sent there.
        await one.permit(("203.0.113.7", 9))


def test_a_renewed_certificate_counts_after_the_signal(
    start_of_page: Callable[..., TurnServer], authority: Authority
) -> None:
    server = start_of_page(LETS_LOOPBACK_IN)
    before = shown_certificate(server.tls_port)
    authority.issue("localhost", file="turn")
    assert shown_certificate(server.tls_port) == before
    server.signal(signal.SIGUSR2)
    wait_until(lambda: shown_certificate(server.tls_port) != before, "coturn serves the renewed certificate")


def test_the_commands_that_try_a_relay_say_whether_it_works(
    start_of_page: Callable[..., TurnServer], tmp_path: Path
) -> None:
    server = start_of_page(LETS_LOOPBACK_IN)
    secret_file = tmp_path / "turn" / "secret"
    secret_file.parent.mkdir()
    secret_file.write_text(f"{SECRET}\n", "utf-8")
    commands = block("turnutils_uclient")
    done = in_shell(commands, server, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Total lost packets 0" in done.stdout
    secret_file.write_text("another secret\n", "utf-8")
    done = in_shell(commands, server, tmp_path)
    assert done.returncode != 0
    assert "Cannot complete Allocation" in done.stdout
    done = in_shell(block("openssl s_client"), server, tmp_path)
    assert "CONNECTED" in done.stdout, done.stderr


def lines_of(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


async def test_the_steps_to_a_new_secret_leave_nobody_without_relays(
    start_of_page: Callable[..., TurnServer], tmp_path: Path
) -> None:
    server = start_of_page({"#static-auth-secret=CHANGE-ME": ""} | LETS_LOOPBACK_IN)
    secret_file = tmp_path / "turn" / "secret"
    settings = Settings(turn_urls=(server.url(),), turn_secret_file=str(secret_file))

    async def follow(*steps: str) -> tuple[str, str]:
        """Follows steps of the page; returns credentials that sigbridge makes from then on, which are good."""
        done = in_shell("".join(map(block, steps)), server, tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        read = IceFiles(settings, lambda stock: None).read()
        assert read.turn is not None
        assert secret_file.stat().st_mode & 0o077 == 0
        credentials = signed(read.turn.secret.decode(), "alice")
        assert await is_taken(server, *credentials)
        return credentials

    first = await follow("mkdir -p")
    second = await follow("new=", "mv /etc")
    assert first[1] != second[1]
    assert await is_taken(server, *first)
    assert len(lines_of(secret_file)) == 2
    assert await follow("old=") == second or await is_taken(server, *second)
    assert not await is_taken(server, *first)
    assert len(lines_of(secret_file)) == 1
