"""The configuration file that `--config` names: TOML, in which every setting has the name of its variable.

Rule 1: there are no tables: `NAME = value`, and the value has TOML's type: a number, true or false, a text, or a list
of texts where a variable has commas. Rule 2: the file is good as a whole, or not at all: a name that is none of ours is
an error always. Rule 3: errors name the file and the setting, or the line; a secret is in none of them.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

from sigbridge.settings import SettingError, fields_from_file
from sigbridge_command.errors import UsageError

_LINE = re.compile(r"at line (\d+)")


def fields_of(path: str) -> dict[str, Any]:
    """Returns the fields of `Settings` that a TOML file sets.

    :raises UsageError: if the file cannot be parsed, or a name or value in it is wrong.
    """
    expected = f"--config is {path!r}: expected a TOML file"
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{expected} ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UsageError(f"{expected} in UTF-8") from None
    except (ValueError, RecursionError) as error:
        # What else the library says may hold what is written there.
        line = _LINE.search(str(error))
        raise UsageError(f"{expected}, and line {line[1]} is not TOML" if line else expected) from None
    try:
        return fields_from_file(document)
    except SettingError as error:
        raise UsageError(f"--config is {path!r}: {error}") from None
