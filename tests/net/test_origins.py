"""The origins of web pages: of the settings, of a file, and both as they are now."""

import pytest

from clock import NOW
from sigbridge import SettingError, Settings
from sigbridge_net.origins import AllowedOrigins

A, B, C = "https://a.example", "https://b.example", "http://c.example:3000"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "origins"


def origins_of(file, *listed):
    return AllowedOrigins(Settings(allowed_origins=listed, allowed_origins_file=str(file)))


def may(origins):
    """Those of the three that may connect."""
    return {one for one in (A, B, C) if origins.allow(one)}


def test_without_a_list_every_page_may():
    origins = AllowedOrigins(Settings())
    assert (origins.every, origins.paths) == (True, ())
    assert origins.allow(A)
    assert origins.allow("null")


def test_the_list_of_the_settings():
    origins = AllowedOrigins(Settings(allowed_origins=(A,)))
    assert [origins.allow(one) for one in (A, B, "null", "https://a.example.evil")] == [True, False, False, False]


def test_the_file_stands_beside_the_settings(file):
    file.write_text(f"# ours\n{B}  # the shop\n\n  {A}\r\n{B}\n")
    assert may(origins_of(file, C, A)) == {A, B, C}


def test_a_file_of_none_lets_no_page_in(file):
    file.write_text("# none\n")
    origins = origins_of(file)
    assert not origins.every
    assert may(origins) == set()


def test_what_is_read_counts_when_it_is_put(file):
    file.write_text(A)
    origins = origins_of(file, C)
    file.write_text(B)
    content = origins.read()
    assert may(origins) == {A, C}
    origins.put(content, NOW)
    assert may(origins) == {B, C}


def test_another_list_of_the_settings_leaves_the_file_alone(file):
    file.write_text(A)
    origins = origins_of(file, C)
    origins.list_instead((B,))
    assert may(origins) == {A, B}
    origins.list_instead(())
    assert may(origins) == {A}
    everybody = AllowedOrigins(Settings(allowed_origins=(A,)))
    assert not everybody.every
    everybody.list_instead(())
    assert everybody.every


def test_a_star_in_either_place_lets_every_page_in(file):
    file.write_text("*\n")
    origins = origins_of(file, A)
    assert origins.every
    assert origins.allow("null")
    file.write_text(f"{B}\n")
    assert may(origins_of(file, "*")) == {A, B, C}
    assert AllowedOrigins(Settings(allowed_origins=("*",))).every


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{A}, {B}".encode(), "in line 1"),
        (f"{A}\n{A} {B}".encode(), "in line 2"),
        (b"\xff", "text in UTF-8"),
        (None, "a file that can be read"),
    ],
)
def test_a_file_that_is_no_good_is_named(file, text, reason):
    if text is not None:
        file.write_bytes(text)
    with pytest.raises(SettingError, match=rf"SIGNALING_ALLOWED_ORIGINS_FILE is '{file}': expected .*{reason}"):
        origins_of(file)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{A}\n{B}/\n", f"in line 2, '{B}/': expected {B}"),
        ("HTTPS://A.example", f"in line 1, 'HTTPS://A.example': expected {A}"),
        ("# any\nnull  # and none", "in line 2, 'null': expected no such entry"),
        (f"*\n{A}\n", "'*' beside others: expected it alone"),
    ],
)
def test_an_entry_that_no_browser_sends_is_named(file, text, said):
    file.write_text(text)
    with pytest.raises(SettingError) as refused:
        origins_of(file)
    assert str(refused.value).startswith(f"SIGNALING_ALLOWED_ORIGINS_FILE is '{file}' and holds")
    assert said in str(refused.value)


def test_hosts_below_another_are_allowed_from_either_place(file):
    file.write_text("https://*.b.example\n")
    origins = origins_of(file, "https://*.a.example")
    assert origins.allow("https://x.a.example")
    assert origins.allow("https://y.x.b.example")
    assert not origins.allow(A)
