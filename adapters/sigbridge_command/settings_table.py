"""`sigbridge settings`: every setting, as a table or as JSON, from the same source as the documentation's page."""

import json
import textwrap
from dataclasses import fields
from itertools import groupby
from typing import Any

from sigbridge.settings import SettingInfo, Settings, setting_infos, subjects
from sigbridge_command.sources import DEFAULT, Given


def settings_rows(given: Given) -> list[dict[str, Any]]:
    """Returns one object for each setting: its variable, value, source, default, what is expected, and its meaning."""
    settings = given.settings()
    defaults = {field.name: field.default for field in fields(Settings)}
    return [
        {
            "variable": info.env,
            "value": _plain(info, getattr(settings, name)),
            "source": given.source(name),
            "default": _plain(info, defaults[name]),
            "expects": info.expects,
            "meaning": info.meaning,
        }
        for name, info in setting_infos().items()
    ]


def print_settings(given: Given, *, as_json: bool) -> int:
    """Prints every setting, as JSON or grouped by subject; returns 0."""
    rows = settings_rows(given)
    if as_json:
        print(json.dumps(rows, indent=2))
        return 0
    titles = {info.env: subject.title for subject in subjects() for info in subject.infos().values()}
    for title, of_subject in groupby(rows, lambda row: titles[row["variable"]]):
        print(f"# {title}\n")
        for row in of_subject:
            source = "" if row["source"] == DEFAULT else f"  # {row['source']}"
            changed = "" if row["value"] == row["default"] else f"  (default {_shown(row['default'])})"
            print(f"{row['variable']}={_shown(row['value'])}{changed}{source}")
            print(textwrap.fill(row["meaning"], width=100, initial_indent="    ", subsequent_indent="    "))
        print()
    return 0


def _plain(info: SettingInfo, value: Any) -> Any:
    if info.secret and value:
        return "(hidden)"
    return list(value) if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    """Returns a value as it is written in a variable."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(value)
    return "" if value is None else str(value)
