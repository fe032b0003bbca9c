"""A proxy in front of a server of its own, started with a file of `deploy/` in which only the place is changed.

A `Proxy` describes one: its program, its file, and how it differs from what every proxy does. `running` starts one.
"""

import contextlib
import http.client
import os
import re
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from certificates import Authority
from free_ports import free_ports
from processes import Process, clean_environment
from server_process import ServerProcess
from waiting import TIME_LIMIT_SECONDS, wait_until

DEPLOY = Path(__file__).parents[2] / "deploy"


@dataclass(frozen=True)
class Place:
    """Place of a proxy: its port, those of the server behind it, the files of its certificate, a folder of its own."""

    port: int
    grpc: int
    ws: int
    certificate: str
    key: str
    folder: Path

    @property
    def both(self) -> str:
        """The file that holds certificate and key, as HAProxy wants them."""
        joined = self.folder / "both.pem"
        joined.write_text("".join(Path(file).read_text("utf-8") for file in (self.certificate, self.key)), "utf-8")
        return str(joined)


@dataclass(frozen=True)
class Difference:
    """A feature behind this proxy that is not as usual: what is seen of it, and the reason."""

    seen: str
    reason: str


@dataclass(frozen=True)
class Proxy:
    """A proxy of `deploy/`."""

    name: str
    program: str
    file: str
    """Its configuration, below `deploy/`."""
    changes: Callable[[Place], dict[str, str]]
    """Texts of the file, and those for a test that replace them, such as shorter timeouts; each occurs once."""
    command: Callable[[Place, str], list[str]]
    """The arguments that run it in the foreground with a configuration."""
    check: Callable[[Place, str], list[str]]
    """The arguments that only check a configuration."""
    version: list[str]
    """The arguments that print its version."""
    addresses: str = "x-forwarded-for"
    """Header by which it tells the server its clients' addresses, as SIGNALING_CLIENT_ADDRESS_FROM has it."""
    differences: Mapping[str, Difference] = field(default_factory=dict)
    """By the name of the feature."""

    @property
    def configuration(self) -> Path:
        return DEPLOY / self.file

    def installed_version(self, program: str) -> str:
        """The numbers of the version of an installed program."""
        done = subprocess.run([program, *self.version], capture_output=True, text=True, timeout=60, check=True)
        found = re.search(r"\bv?(\d+\.\d+\.\d+)", done.stdout + done.stderr)
        assert found is not None, done
        return found[1]

    def configured(self, place: Place) -> str:
        """Writes the configuration for a place; returns its path."""
        text = self.configuration.read_text("utf-8")
        for said, meant in self.changes(place).items():
            assert text.count(said) == 1, (self.file, said)
            text = text.replace(said, meant)
        path = place.folder / self.configuration.name
        path.write_text(text, "utf-8")
        return str(path)


class Front:
    """A proxy that runs, and the server behind it; `command` is the proxy's."""

    def __init__(
        self, proxy: Proxy, place: Place, authority: Authority, *, command: list[str], settings: dict[str, str]
    ) -> None:
        self.proxy = proxy
        self.place = place
        self.authority = authority
        self._settings = settings
        self.server = self._serve()
        self.process = Process(command, environment=clean_environment())

    def _serve(self) -> ServerProcess:
        return ServerProcess(
            GRPC_BIND_ADDRESS=f"127.0.0.1:{self.place.grpc}",
            WS_BIND_ADDRESS=f"127.0.0.1:{self.place.ws}",
            SIGNALING_CLIENT_ADDRESS_FROM=self.proxy.addresses,
            SIGNALING_TRUSTED_PROXIES="127.0.0.1",
            **self._settings,
        )

    def serve_again(self) -> None:
        """Starts a server at the same addresses, once the last one has ended, and waits until the proxy reaches it."""
        self.server.stop()
        self.server = self._serve()
        self.wait()

    def wait(self) -> None:
        """Returns when the server listens and the proxy reaches it; AssertionError where either has ended."""
        self.server.ready()
        wait_until(lambda: self._reaches() or not self.process.running, f"{self.proxy.name} reaches the server")
        if not self.process.running:
            self.process.wait()
            raise AssertionError(f"{self.proxy.name} ended: {self.process.stdout} {self.process.stderr}")

    def stop(self) -> None:
        """Ends both."""
        try:
            self.process.stop()
        finally:
            self.server.stop()

    def _reaches(self) -> bool:
        """Returns True where the server answers through the proxy, in both versions of HTTP."""
        if self.status("/readyz") != 200:
            return False
        with contextlib.suppress(grpc.RpcError), grpc.secure_channel(self.target, self.credentials) as channel:
            channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=TIME_LIMIT_SECONDS)
            return True
        return False

    def status(self, path: str) -> int:
        """The status with which a GET is answered on a connection of its own; 0 where the connection ends instead."""
        asking = http.client.HTTPSConnection("localhost", self.port, timeout=TIME_LIMIT_SECONDS, context=self.tls)
        with contextlib.closing(asking), contextlib.suppress(ConnectionError, http.client.HTTPException, ssl.SSLError):
            asking.request("GET", path)
            return asking.getresponse().status
        return 0

    @property
    def port(self) -> int:
        return self.place.port

    @property
    def target(self) -> str:
        return f"localhost:{self.port}"

    @property
    def credentials(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(self.authority.pem)

    @property
    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.authority.file)

    def url(self, protocol: str) -> str:
        return f"{'grpcs' if protocol == 'grpc' else 'wss'}://{self.target}"


@contextlib.contextmanager
def running(proxy: Proxy, program: str, folder: Path, **settings: str) -> Iterator[Front]:
    """Runs a server with these settings, and the proxy in front of it, until the block ends."""
    authority = Authority(folder)
    certificate, key = authority.issue("localhost", file=proxy.name.replace(" ", "-"))
    place = Place(*free_ports(3), certificate=certificate, key=key, folder=folder)
    configuration = proxy.configured(place)
    checked = subprocess.run(
        [program, *proxy.check(place, configuration)], capture_output=True, text=True, timeout=60, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    command = [program, *proxy.command(place, configuration)]
    front = Front(proxy, place, authority, command=command, settings=settings)
    try:
        front.wait()
        yield front
    finally:
        front.stop()


def program_path(name: str) -> str | None:
    """The path of an installed program."""
    tools = DEPLOY.parent / ".cache" / "tools" / "bin"
    return shutil.which(name, path=f"{tools}:{os.environ.get('PATH', '')}:/usr/sbin")


def ports_of_processes(pid: int) -> set[int]:
    """The TCP ports at which a process and its children listen."""
    pids, found = [pid], set()
    # Threads and children come and go; who has gone listens nowhere.
    gone = (FileNotFoundError, ProcessLookupError)
    for each in pids:
        with contextlib.suppress(*gone):
            for thread in Path(f"/proc/{each}/task").iterdir():
                with contextlib.suppress(*gone):
                    pids += map(int, (thread / "children").read_text("ascii").split())
        with contextlib.suppress(*gone):
            for opened in Path(f"/proc/{each}/fd").iterdir():
                with contextlib.suppress(*gone):
                    found.add(str(opened.readlink()))
    tables = [Path(f"/proc/net/{name}").read_text("ascii").splitlines()[1:] for name in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table]
    # Local address, state and inode; the state is LISTEN.
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in found}
