"""A client's line to pages."""

import pytest

from http_lines import HttpLine


@pytest.fixture
def line():
    return HttpLine()
