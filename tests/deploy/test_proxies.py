"""Every proxy of deploy/, run for real: the same features behind each, and what is known to differ.

One proxy and one server serve all features of it; `make proxies` writes what was seen into docs/proxies.md.
"""

import pytest

from processes import NOT_MEASURED
from proxies import PROXIES
from proxy import running
from proxy_feature import expected
from proxy_features import FEATURES, SERVER_SETTINGS


@pytest.fixture(scope="module", params=PROXIES, ids=lambda proxy: proxy.name)
def front(request, tool, tmp_path_factory):
    """A proxy and the server behind it, which runs again where the last test has ended it."""
    program = tool(request.param.program)
    tool("curl")
    settings = SERVER_SETTINGS | NOT_MEASURED
    with running(request.param, program, tmp_path_factory.mktemp("proxy"), **settings) as started:
        yield started


@pytest.fixture
def serving(front):
    """The front, whose server runs again where the last test has ended it."""
    if not front.server.running:
        front.serve_again()
    return front


@pytest.mark.parametrize("name", FEATURES)
async def test_feature(name, serving, clients, record_property):
    seen = await FEATURES[name].observe(serving, clients)
    assert seen == expected(serving.proxy, name)
    record_property("seen", (serving.proxy.name, name, seen))
