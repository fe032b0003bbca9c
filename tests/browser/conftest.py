"""The origin of pages, and the browsers that show them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from browsing import Origin, origin_of
from chromium import Browsers


@pytest.fixture
def origin() -> Iterator[Origin]:
    """An origin of its own, that serves the pages of this folder."""
    with origin_of(Path(__file__).parent) as server:
        yield server


@pytest.fixture(scope="session")
def browsers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browsers]:
    """Browsers that tests share; each page is as in a browser of its own."""
    running = Browsers(tmp_path_factory.mktemp("browsers"))
    yield running
    running.end()
