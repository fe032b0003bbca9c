"""The fixtures of tests with coturn: what starts one, and the origin of pages that use it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from browsing import Origin, origin_of
from turn_server import StartTurnServer, turn_servers


@pytest.fixture
def start_turn_server(tmp_path: Path) -> Iterator[StartTurnServer]:
    """Start TURN servers that end with the test."""
    with turn_servers(tmp_path) as start:
        yield start


@pytest.fixture
def origin() -> Iterator[Origin]:
    """An origin that serves the pages of this folder."""
    with origin_of(Path(__file__).parent) as server:
        yield server
