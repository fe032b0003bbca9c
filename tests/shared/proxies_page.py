"""The table of docs/proxies.md, made of what `tests/deploy/test_proxies.py` sees; `make proxies` writes it."""

import re
from collections.abc import Mapping
from pathlib import Path

from proxies import PROXIES
from proxy import program_path
from proxy_features import FEATURES

PAGE = Path(__file__).parents[2] / "docs" / "proxies.md"
BEGIN, END = "<!-- Made by make proxies: -->", "<!-- Until here. -->"


def table(seen: Mapping[tuple[str, str], str], versions: Mapping[str, str]) -> str:
    """The table, and the reasons for what is different, in the order in which they are met.

    `seen` is by the names of proxy and feature, `versions` by those of proxies.
    """
    reasons: dict[str, int] = {}

    def cell(proxy_name: str, feature_name: str) -> str:
        text = seen[proxy_name, feature_name]
        reason = _REASONS.get((proxy_name, feature_name))
        return text if reason is None else f"{text} ({reasons.setdefault(reason, len(reasons) + 1)})"

    rows = [
        ["", *(f"{proxy.name} {versions[proxy.name]}" for proxy in PROXIES)],
        ["---"] * (len(PROXIES) + 1),
        *([feature.title, *(cell(proxy.name, name) for proxy in PROXIES)] for name, feature in FEATURES.items()),
    ]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, "", *(f"{number}. {reason}" for reason, number in reasons.items())]) + "\n"


_REASONS = {
    (proxy.name, name): f"{proxy.name}: {difference.reason}."
    for proxy in PROXIES
    for name, difference in proxy.differences.items()
}


def page_with(made: str) -> str:
    """The page with this table in it."""
    head, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    return f"{head}{BEGIN}\n\n{made}\n{END}{rest.partition(END)[2]}"


def written_versions() -> dict[str, str]:
    """The versions that stand in the table of the page, by the names of proxies."""
    made = PAGE.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]
    cells = made.strip().partition("\n")[0].strip("|").split("|")[1:]
    return dict(re.fullmatch(r" (.+) (\S+) ", cell).groups() for cell in cells)


def missing_in(seen: Mapping[tuple[str, str], str]) -> list[tuple[str, str]]:
    """The proxies and features, by their names, that were not seen."""
    return [(proxy.name, name) for proxy in PROXIES for name in FEATURES if (proxy.name, name) not in seen]


def write(seen: Mapping[tuple[str, str], str]) -> None:
    """Writes what was seen, which is all, into the page, with the versions that are installed."""
    versions = {proxy.name: proxy.installed_version(str(program_path(proxy.program))) for proxy in PROXIES}
    PAGE.write_text(page_with(table(seen, versions)), "utf-8")
