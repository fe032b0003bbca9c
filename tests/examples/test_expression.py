"""Arithmetic on fields, and what is none."""

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline_host.data import DataError
from pipeline_host.expression import DEEPEST, ExpressionError, parse_expression

FIELDS = {"a": 2.0, "b": {"c": 5.0}, "big": 1e300, "text": "7", "yes": True}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("1", 1),
        (" 1.5 + a ", 3.5),
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("10 - 2 - 3", 5),
        ("16 / 4 / 2", 2),
        ("-a * -b.c", 10),
        ("--a", 2),
        ("2*-a", -4),
        ("-(a + 1)", -3),
    ],
)
def test_it_calculates(text, result):
    assert parse_expression(text)(FIELDS) == result


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "ends too early"),
        ("1 +", "ends too early"),
        ("(1", "lacks a closing parenthesis"),
        ("1)", r"unexpected '\)'"),
        ("1 2", "unexpected '2'"),
        ("a.", r"unexpected '\.'"),
        ("* 1", r"unexpected '\*'"),
        ("1 ** 2", r"unexpected '\*'"),
        ("a[0]", r"unexpected '\['"),
        ("f()", r"unexpected '\('"),
        ("__import__('os')", r"unexpected '\('"),
        ("1 \n ; 2", "unexpected ';'"),
        ("1" * 501, "longer than 500"),
        ("(" * 400 + "1", f"nested deeper than {DEEPEST}"),
        ("-" * 400 + "1", f"nested deeper than {DEEPEST}"),
    ],
)
def test_what_is_no_expression_is_refused(text, says):
    with pytest.raises(ExpressionError, match=says):
        parse_expression(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("gone", "needs the field 'gone'"),
        ("a.b", r"needs the field 'a\.b'"),
        ("text", "needs a number in the field 'text'"),
        ("yes", "needs a number in the field 'yes'"),
        ("a / (a - a)", "divides by zero in 'a / "),
        ("big * big", "no finite number"),
        ("big * big - big * big", "no finite number"),
    ],
)
def test_fields_that_do_not_fit_are_refused(text, says):
    with pytest.raises(DataError, match=says):
        parse_expression(text)(FIELDS)


@given(st.text(alphabet="ab.+-*/() 0123456789_é[]\n", max_size=60))
def test_whatever_is_given_it_is_refused_or_calculated(text):
    try:
        value = parse_expression(text)
    except ExpressionError:
        return
    with contextlib.suppress(DataError):
        assert isinstance(value(FIELDS), float)


def _render(numbers, signs):
    return " ".join(part for pair in zip(numbers, [*signs, ""], strict=False) for part in pair).strip()


@given(
    # Floats, as the expression's own: integers would be exact, and beyond 2**53 their result another.
    st.lists(st.integers(0, 1000).map(float).map(str), min_size=1, max_size=20),
    st.lists(st.sampled_from("+-*"), max_size=20),
)
@example(["1.0", "81.0", "332.0", "361.0", "928.0", "1000.0", "1000.0", "1.0"], list("+*****+"))
def test_its_precedence_is_that_of_arithmetic(numbers, signs):
    signs = signs[: len(numbers) - 1]
    text = _render(numbers[: len(signs) + 1], signs)
    assert parse_expression(text)({}) == eval(text)
