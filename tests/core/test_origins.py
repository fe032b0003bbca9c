"""Lists of origins: what an entry means, what is said of a wrong one, and that comparing takes linear time."""

import contextlib
import re

import pytest

from sigbridge import SettingError, Settings
from sigbridge.origins import Origins

A = "https://a.example"


@pytest.mark.parametrize(
    ("entry", "right", "wrong"),
    [
        (
            A,
            [A],
            ["http://a.example", f"{A}:8443", f"{A}.", f"{A}/", "https://A.example", "https://x.a.example", "null", ""],
        ),
        # RFC 6454, section 6.2: a browser writes no default port; what it would not write is compared letter by letter.
        (f"{A}:443", [A], [f"{A}:443", f"{A}:80"]),
        ("http://a.example:80", ["http://a.example"], [A]),
        ("http://a.example:443", ["http://a.example:443"], ["http://a.example", A]),
        (f"{A}:8443", [f"{A}:8443"], [A, f"{A}:443", f"{A}:84430"]),
        ("http://localhost:3000", ["http://localhost:3000"], ["http://localhost"]),
        ("http://127.0.0.1:3000", ["http://127.0.0.1:3000"], ["http://127.0.0.1"]),
        ("http://[::1]:3000", ["http://[::1]:3000"], ["http://[::1]"]),
        ("https://xn--bcher-kva.example", ["https://xn--bcher-kva.example"], ["https://b\u00fccher.example"]),
        ("chrome-extension://abcdef", ["chrome-extension://abcdef"], ["chrome-extension://abcdeg"]),
        (
            "https://*.a.example",
            ["https://x.a.example", "https://y.x.a.example", "https://x_y-z.a.example"],
            [
                A,
                "https://.a.example",
                "https://xa.example",
                "https://x.a.example.evil",
                "https://x.a.example:8443",
                "https://x.a.example:443",
                "http://x.a.example",
                "https://evil.example#.a.example",
                "https://evil.example/.a.example",
                "https://evil.example?.a.example",
                "https://evil.example:1@x.a.example",
                "https://evil.example:.a.example",
                "https://x..a.example",
                "https://x.a.example ",
                "https://x.a.example\n",
                "https://X.a.example",
                "x.a.example",
                "null",
                "",
            ],
        ),
        ("https://*.a.example:443", ["https://x.a.example"], ["https://x.a.example:443"]),
        (
            "https://*.a.example:8443",
            ["https://x.a.example:8443"],
            ["https://x.a.example", "https://x.a.example:18443"],
        ),
        ("*", [A, "null", "anything"], []),
    ],
)
def test_entries(entry, right, wrong):
    origins = Origins([entry])
    assert [one for one in right if one not in origins] == []
    assert [one for one in wrong if one in origins] == []
    assert None not in Origins([A])


def test_an_entry_is_one_of_many():
    origins = Origins([A, "https://*.b.example", "https://*.c.example:1", "http://*.d.example", A])
    for one in (A, "https://x.b.example", "https://x.c.example:1", "http://x.d.example"):
        assert one in origins
    for one in ("https://x.d.example", "http://x.b.example", "https://x.c.example"):
        assert one not in origins
    assert A not in Origins([])


WRONG = {
    f"{A}/": A,
    f"{A}/app": A,
    f"{A}?q": A,
    f"{A}#f": A,
    "HTTPS://a.example": A,
    "https://A.Example": A,
    "https://*.A.Example": "https://*.a.example",
    "a.example": A,
    "a.example/": A,
    "*.a.example": "https://*.a.example",
    "localhost:3000": "https://localhost:3000",
    "https://user@a.example": A,
    f"{A}:": A,
    f"{A}:08443": f"{A}:8443",
    "wss://a.example": A,
    "ws://a.example:8080": "http://a.example:8080",
    "http://[0:0::1]:3000": "http://[::1]:3000",
    "null": "no such entry, since any page can have that origin; * lets all in",
    "https://b\u00fccher.example": "the host as browsers send it, in ASCII (xn--\u2026)",
}
UNCLEAR = [
    "",
    " ",
    "https://",
    "file://",
    "https://*",
    "https://*.",
    "https://**.a.example",
    "https://app-*.a.example",
    "https://*a.example",
    "https://a.*.example",
    "https://*.127.0.0.1",
    "https://127.1",
    "https://256.0.0.1",
    "https://[::g]",
    "https://[::1%25eth0]",
    "https://*.[::1]",
    "https://[::1",
    f"{A}:0",
    f"{A}:65536",
    f"{A}:x",
    f"{A}.",
    "https://.a.example",
    "https://a..example",
    "https://a example",
    f"{A}\n",
]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [*WRONG.items(), *((entry, "an origin such as https://example.org or https://*.example.org") for entry in UNCLEAR)],
)
def test_what_no_browser_sends_is_refused_with_what_would_be_right(entry, expected):
    with pytest.raises(ValueError, match=f"^{re.escape(f'{entry!r}: expected {expected}')}$"):
        Origins([A, entry])


@pytest.mark.parametrize("expected", [value for value in WRONG.values() if "://" in value])
def test_what_would_be_right_is_right(expected):
    assert Origins([expected])


def test_a_star_stands_alone():
    with pytest.raises(ValueError, match=r"'\*' beside others: expected it alone"):
        Origins([A, "*"])
    assert Origins(["*", "*"]).every


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{A}/", f"'{A}/': expected {A}"),
        (f"{A}, b.example", "'b.example': expected https://b.example"),
        (f"*,{A}", "'*' beside others: expected it alone, as it stands for all"),
    ],
)
def test_the_variable_is_named(text, said):
    with pytest.raises(SettingError, match=f"^{re.escape(f'SIGNALING_ALLOWED_ORIGINS holds {said}')}$"):
        Settings.from_environment({"SIGNALING_ALLOWED_ORIGINS": text})
    with pytest.raises(SettingError):
        Settings(allowed_origins=tuple(text.split(",")))


HOSTILE = {
    "labels": lambda size: "https://" + "a." * (size // 2) + "evil",
    "almost the end": lambda size: "https://" + ".a.example" * (size // 10) + "x",
    "one label": lambda size: "https://" + "a" * size + "!",
    "a port": lambda size: "https://x.a.example:" + "1" * size,
    "a scheme": lambda size: "a+" * (size // 2),
    "dots": lambda size: "https://" + "." * size,
    "at signs": lambda size: "https://" + "a@" * (size // 2) + ".a.example",
    "brackets": lambda size: "https://[" + ":" * size,
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_origin_takes_linear_time(make):
    """Of a megabyte, anything worse than linear would run for minutes: the run's time limit would end it."""
    origins = Origins([A, "https://*.a.example", "https://*.b.example:1", "http://*.c.example"])
    hostile = make(1_000_000)
    assert len(hostile) >= 999_000
    assert hostile not in origins
    with contextlib.suppress(ValueError):
        # Lists are read by the same rules.
        Origins([hostile])
