"""docs/proxies.md is what the tests of proxies expect; `make proxies` makes it."""

from proxies import PROXIES
from proxies_page import PAGE, page_with, table, written_versions
from proxy_feature import expected
from proxy_features import FEATURES


def test_its_table_is_what_the_tests_expect_to_see():
    seen = {(proxy.name, name): expected(proxy, name) for proxy in PROXIES for name in FEATURES}
    assert page_with(table(seen, written_versions())) == PAGE.read_text("utf-8")


def test_every_difference_is_one_of_a_feature():
    for proxy in PROXIES:
        for name, difference in proxy.differences.items():
            assert difference.seen != FEATURES[name].usual, (proxy.name, name)


def test_every_proxy_of_deploy_is_run():
    described = {proxy.configuration for proxy in PROXIES}
    files = {path for proxy in PROXIES for path in proxy.configuration.parent.iterdir()}
    assert described == files
