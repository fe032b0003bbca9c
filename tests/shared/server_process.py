"""`sigbridge serve` as a process, on ports that the system chose."""

import http.client
import json
import os
import re
import subprocess
import sys
from asyncio.subprocess import Process as AwaitedProcess
from pathlib import Path
from typing import Any, Self

from forked import Forked
from processes import Process, clean_environment
from waiting import TIME_LIMIT_SECONDS, wait_until

ADDRESSES = ("GRPC_BIND_ADDRESS", "WS_BIND_ADDRESS", "HTTP_BIND_ADDRESS")
LISTENING = re.compile(r"(gRPC|WebSocket|HTTP) listening on \S+:(\d+)\n")


class ServerProcess(Process):
    """A `sigbridge serve` on ports that the system chose.

    It is forked, but for one with `ulimit`, options of the shell's word such as `-n 128`, and where coverage is measured.
    """

    def __init__(self, *, ulimit: str = "", **settings: str) -> None:
        self.settings = dict.fromkeys(ADDRESSES, "127.0.0.1:0") | settings
        self._is_forked = not ulimit and "COVERAGE_PROCESS_CONFIG" not in os.environ
        super().__init__(
            # What is not our fault: how jsonrpcserver reads its schema.
            [
                *(("sh", "-c", f'ulimit {ulimit} && exec "$@"', "sh") if ulimit else ()),
                *(sys.executable, "-W", "error", "-W", "ignore:read_text is deprecated:DeprecationWarning"),
                *("-W", "ignore:open_text is deprecated:DeprecationWarning", "-m", "sigbridge_command", "serve"),
            ],
            environment=clean_environment(**self.settings),
        )

    def _start(
        self, command: list[str], environment: dict[str, str], cwd: Path | None
    ) -> "subprocess.Popen[str] | Forked":
        return Forked(["serve"], environment) if self._is_forked else super()._start(command, environment, cwd)

    def ready(self) -> Self:
        """Waits until it listens everywhere."""
        addresses = sum(len(self.settings[name].split(",")) for name in ADDRESSES if self.settings[name] != "off")
        wait_until(lambda: len(self.stdout) == addresses or not self.running, "the server's listening lines")
        if not self.running:
            self.wait()
            raise AssertionError(f"the server ended: {self.stderr}")
        return self

    def port(self, name: str) -> int:
        (line,) = (line for line in self.stdout if line.startswith(f"{name} listening on "))
        return int(line.rpartition(":")[2])

    @property
    def grpc(self) -> int:
        return self.port("gRPC")

    @property
    def ws(self) -> int:
        return self.port("WebSocket")

    @property
    def http(self) -> int:
        return self.port("HTTP")

    def page(self, path: str) -> tuple[int, str]:
        """A page of the HTTP port: its status and text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=TIME_LIMIT_SECONDS)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def metrics(self) -> dict[str, float]:
        """Every sample of `/metrics`, by its name and labels as they are written."""
        status, text = self.page("/metrics")
        assert status == 200
        samples = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {series: float(value) for series, _, value in samples}

    def said(self, text: str) -> list[str]:
        """The lines of its log that hold a text."""
        return [line for line in list(self.stderr) if text in line]

    def log(self) -> list[dict[str, Any]]:
        """Its log, where that is JSON: one object a line, or this fails."""
        return [json.loads(line) for line in list(self.stderr)]


async def ports_of(process: AwaitedProcess, count: int = 2) -> dict[str, int]:
    """The first ports that a server says it listens on, by the names that it gives them."""
    assert process.stdout is not None
    assert process.stderr is not None
    ports: dict[str, int] = {}
    while len(ports) < count:
        line = (await process.stdout.readline()).decode()
        assert line, (await process.stderr.read()).decode()
        said = LISTENING.fullmatch(line)
        assert said is not None, line
        ports[said[1]] = int(said[2])
    return ports
