"""Settings of strictness: what becomes of variables that look like ours and are none."""

from dataclasses import dataclass
from typing import ClassVar

from sigbridge.settings.declare import Subject, switch


@dataclass(frozen=True, kw_only=True)
class Strictness(Subject):
    """The treatment of misspelt variables."""

    title: ClassVar[str] = "Misspelt settings"

    strict_settings: bool = switch(
        False,
        "SIGNALING_STRICT_SETTINGS",
        "a variable that looks like a misspelt setting stops the start; false: a warning names it",
    )
