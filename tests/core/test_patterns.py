"""Patterns: what they match, how long that takes, and what is no list of patterns."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigbridge.patterns import MAX_PATTERN_BYTES, MAX_PATTERNS, Patterns

LETTERS = st.text(alphabet="ab*", max_size=8)
TEXTS = st.text(alphabet="abA*\n", max_size=12)


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("alice", "alice", True),
        ("alice", "alice:2", False),
        ("alice", "Alice", False),
        ("", "", True),
        ("", "a", False),
        ("*", "", True),
        ("*", "anything\nat all", True),
        ("a*", "a", True),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("*b", "aab", True),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "a-c-b", False),
        ("**", "", True),
        ("a.c", "abc", False),
        ("[ab]", "a", False),
        (r"a\*", "a*", False),
        (r"a\*", "a\\anything", True),
        ("caf\u00e9", "cafe\u0301", False),
    ],
)
def test_one_pattern(pattern, text, matches):
    assert (text in Patterns([pattern])) is matches


@given(st.lists(LETTERS, max_size=4), TEXTS)
def test_it_is_as_a_regular_expression_has_it(patterns, text):
    expected = any(re.fullmatch(".*".join(map(re.escape, p.split("*"))), text, re.DOTALL) for p in patterns)
    assert (text in Patterns(patterns)) is expected


def test_the_subject_is_literal():
    own = Patterns(["{sub}", "{sub}:*"], subject="a*c")
    assert "a*c" in own
    assert "a*c:2" in own
    assert "abc" not in own
    assert "abc:2" not in own


def test_many_stars_take_no_time_to_speak_of():
    """A regular expression of this would try some 10^24 ways."""
    assert "a" * 256 not in Patterns(["a*" * 127 + "b"])


@given(st.lists(LETTERS, max_size=3), st.lists(LETTERS, max_size=3), TEXTS)
def test_what_is_covered_is_matched(patterns, others, text):
    if Patterns(patterns).covers(Patterns(others)) and text in Patterns(others):
        assert text in Patterns(patterns)


def test_a_star_of_a_subject_covers_none():
    assert not Patterns(["{sub}*"], subject="a*").covers(Patterns(["a*b*"]))


def test_bounds():
    Patterns(["x" * MAX_PATTERN_BYTES] * MAX_PATTERNS)
    with pytest.raises(ValueError, match="patterns"):
        Patterns(["x"] * (MAX_PATTERNS + 1))
    with pytest.raises(ValueError, match="bytes"):
        Patterns(["ü" * 129])


def test_none_are_none():
    assert "" not in Patterns([])
    assert 7 not in Patterns(["*"])


def test_equal_sets_are_equal():
    assert Patterns(["a", "b*"]) == Patterns(["b*", "a", "a"])
    assert hash(Patterns(["a", "b*"])) == hash(Patterns(["b*", "a"]))
    assert Patterns(["a"]) != Patterns(["a*"])
    assert Patterns(["a"]) != {"a"}
    assert repr(Patterns(["b*", "a"])) == "Patterns(['a', 'b*'])"


def test_what_covers_what():
    assert Patterns(["a*", "c"]).covers(Patterns(["ab", "c", "a*"]))
    assert Patterns(["*"]).covers(Patterns(["a*", "*b", "a*b*c", ""]))
    assert Patterns(["a*"]).covers(Patterns(["ab*", "a*c"]))
    assert Patterns(["a*c"]).covers(Patterns(["ab*bc"]))
    assert not Patterns(["ab*"]).covers(Patterns(["a*"]))
    assert not Patterns(["a*c"]).covers(Patterns(["a*"]))
    assert not Patterns(["ab"]).covers(Patterns(["a*"]))
    assert not Patterns(["a*"]).covers(Patterns(["b"]))
