"""Makes docs/settings.md from the settings themselves, so that the page cannot say anything else.

`--check` changes nothing and exits 1 where the page is not current.
"""

import dataclasses
import sys
from pathlib import Path

from sigbridge.settings import Subject, subjects

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"

HEAD = """\
# Settings

Every setting is an environment variable. One that is not set, or is empty, has its default. A wrong value stops the
server before it listens, with one line that names the variable and what would be right. The same settings are fields of
`sigbridge.Settings`, for programs that make a server themselves.

A setting may also stand in [a file](running.md#settings-in-files), by the same name: of the environment, `--env-file`
and `--config` the first that sets it counts. In the TOML of `--config` a value has its own type: a number, `true` or
`false`, a text, and a list of texts where it says "separated by commas" below.

Sizes are bytes of UTF-8 text, not characters. Times are seconds and may have a fraction.

This page is made by `make settings-page`; change the meaning of a setting in `core/sigbridge/settings/`.
"""

TABLE_HEAD = """\
| variable | default | meaning | expects | field of `Settings` |
|---|---|---|---|---|
"""


def settings_page() -> str:
    """The whole page, as Markdown."""
    return HEAD + "".join(f"\n## {subject.title}\n\n{TABLE_HEAD}{_rows(subject)}" for subject in subjects())


def _rows(subject: type[Subject]) -> str:
    defaults = {field.name: field.default for field in dataclasses.fields(subject)}
    return "".join(
        f"| `{info.env}` | {_shown(defaults[name])} | {info.meaning} | {info.expects} | `{name}` |\n"
        for name, info in subject.infos().items()
    )


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if value is None:
        return "not set"
    if value in ("", ()):
        return "empty"
    if isinstance(value, float) and value.is_integer():
        return f"`{int(value)}`"
    return f"`{value}`"


def main(arguments: list[str]) -> int:
    """Write the page, or with `--check` compare it."""
    page = settings_page()
    if arguments == ["--check"]:
        if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page:
            return 0
        print(f"{PAGE.relative_to(PAGE.parents[1])} is not current: run `make settings-page`", file=sys.stderr)
        return 1
    if arguments:
        print("usage: generate_settings_page.py [--check]", file=sys.stderr)
        return 2
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
