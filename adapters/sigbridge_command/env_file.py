"""The file of variables that `--env-file` names."""

import io
from pathlib import Path

from sigbridge_command.errors import UsageError


def variables_of(path: str) -> dict[str, str]:
    """Returns the variables of a file of NAME=VALUE lines.

    :raises UsageError: if the file cannot be read or parsed
    """
    wrong = f"--env-file is {path!r}: expected a file of NAME=VALUE lines"
    if not Path(path).is_file():
        raise UsageError(wrong)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{wrong} ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UsageError(wrong) from None
    if "\0" in text:
        raise UsageError(wrong)
    from dotenv.parser import parse_stream

    # A token may hold a dollar sign: values are taken as they stand.
    variables = {}
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            raise UsageError(f"{wrong}, and line {binding.original.line} is not")
        if binding.key is not None and binding.value is not None:
            variables[binding.key] = binding.value
    return variables
