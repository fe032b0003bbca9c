"""Sessions that are killed at random points: every message arrives once and in order, every request has one outcome.

`--kills N`, or SIGBRIDGE_KILLS=N, says how many kills are played; `--seed` plays the same ones again.
"""

import asyncio
import os

import pytest

import time_limits
from chaos import SERVER_SETTINGS, WAYS, play
from server_process import ServerProcess
from sigbridge_bench.progress import Progress
from typescript_drivers import WHY_NOT

FEW_KILLS = 6
MANY_KILLS = 50
"""From so many on, the test says how far it is, and gives its figures."""
KILL_SECONDS = 4.0
"""The most seconds for a kill, of several at a time, on a machine that is busy."""
START_SECONDS = 240.0
"""The most seconds beyond that for processes to start and to end."""


@pytest.fixture
def kill_count(request):
    count = request.config.getoption("--kills") or int(os.environ.get("SIGBRIDGE_KILLS") or FEW_KILLS)
    assert count > 0
    time_limits.allow(START_SECONDS + KILL_SECONDS * count)
    return count


@pytest.fixture
def server(engine):
    with_settings = ServerProcess(GRPC_ENGINE=engine, **SERVER_SETTINGS)
    try:
        yield with_settings.ready()
    finally:
        with_settings.stop()


@pytest.mark.parametrize(
    ("runtime", "engine"),
    [("python", "native"), ("python", "grpcio"), ("node", "native"), ("chromium", "native")],
    ids=["native", "grpcio", "node", "chromium"],
)
def test_sessions_survive_kills(request, runtime, server, kill_count, tmp_path):
    """Resets, silence, connections that close in the middle of a frame, processes that stand still."""
    if reason := WHY_NOT.get(runtime, str)():
        pytest.skip(reason)
    seed = request.config.getoption("--seed")
    ports = {"grpc": server.grpc, "websocket": server.ws}
    assert tuple(ports) == WAYS
    with time_limits.stderr() as stream:
        progress = Progress(kill_count, stream)

        def say(figures):
            progress.step(1)
            if kill_count >= MANY_KILLS:
                done = f"{figures.kills.total()} of {kill_count} kills, {figures.resumes.total()} resumes"
                progress.say(f"{request.node.name}: {done}")

        figures = asyncio.run(play(kill_count, seed, ports, tmp_path, say, runtime=runtime))
        if kill_count >= MANY_KILLS:
            progress.end()
            stream.write(f"{request.node.name}: {figures.table()}")
    assert figures.faults == []
    assert figures.kills.total() == kill_count
    assert figures.resumes.total() >= kill_count / 2
    assert figures.heard == figures.acknowledged
    assert not [line for line in server.stderr if "[error" in line or "Traceback" in line]
