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


def test_without_a_list_every_page_may():
    origins = AllowedOrigins(Settings())
    assert (origins.present, origins.paths) == (None, ())
    assert origins.allow(A)


def test_the_list_of_the_settings():
    origins = AllowedOrigins(Settings(allowed_origins=(A,)))
    assert [origins.allow(one) for one in (A, B, "null", "https://a.example.evil")] == [True, False, False, False]


def test_the_file_stands_beside_the_settings(file):
    file.write_text(f"# ours\n{B}  # the shop\n\n  {A}\r\n{B}\n")
    assert origins_of(file, C, A).present == (C, A, B)


def test_a_file_of_none_lets_no_page_in(file):
    file.write_text("# none\n")
    origins = origins_of(file)
    assert origins.present == ()
    assert not origins.allow(A)


def test_what_is_read_counts_when_it_is_put(file):
    file.write_text(A)
    origins = origins_of(file, C)
    file.write_text(B)
    content = origins.read()
    assert origins.present == (C, A)
    origins.put(content, NOW)
    assert origins.present == (C, B)


def test_another_list_of_the_settings_leaves_the_file_alone(file):
    file.write_text(A)
    origins = origins_of(file, C)
    origins.list_instead((B,))
    assert origins.present == (B, A)
    origins.list_instead(())
    assert origins.present == (A,)
    everybody = AllowedOrigins(Settings(allowed_origins=(A,)))
    everybody.list_instead(())
    assert everybody.present is None


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
