"""Numbers as people write them."""

import numpy as np
import pytest

from sparsernn.data.numerals import class_key, decimal_mark, numbers, numeral
from sparsernn.errors import UserError


@pytest.mark.parametrize(
    "text, decimal, value, unit",
    [
        ("1,234.5", ".", 1234.5, ""),
        ("1.234,5", ",", 1234.5, ""),
        ("2,6", ",", 2.6, ""),
        ("1\u00a0234,5", ",", 1234.5, ""),
        ("1'234.5", ".", 1234.5, ""),
        ("1,00,000", ".", 100_000, ""),
        ("$1,234", ".", 1234, "$"),
        ("-$5", ".", -5, "$"),
        ("EUR 12,50", ",", 12.5, "EUR"),
        ("12 %", ".", 12, "%"),
        ("(1,200)", ".", -1200, ""),
        ("\u22125", ".", -5, ""),
        ("5 \u00b0C", ".", 5, "\u00b0C"),
        ("45.3M", ".", 45_300_000, ""),
        ("300 K", ".", 300, "K"),
        ("1e-3", ".", 0.001, ""),
        (".5", ".", 0.5, ""),
        (7, ".", 7, ""),
    ],
)
def test_a_number_and_its_unit(text, decimal, value, unit):
    made = numeral(text, decimal)
    assert made is not None and made.value == pytest.approx(value) and made.unit == unit


@pytest.mark.parametrize("text, decimal", [("2,6", "."), ("9.45", ","), ("1.2.3", "."), ("abc", "."), ("12:30", ".")])
def test_what_is_no_number(text, decimal):
    assert numeral(text, decimal) is None


@pytest.mark.parametrize(
    "cells, mark",
    [
        (["2,6", "3"], ","),
        (["1,234"], "?"),
        (["1,234", "0,5"], ","),
        (["1,234,567"], "."),
        (["1.234,5"], ","),
        (["1,234.5"], "."),
        (["0,758"], ","),
        (["1.234.567"], ","),
        (["1.2", 3.4, None], ""),
    ],
)
def test_the_decimal_mark_that_cells_show(cells, mark):
    assert decimal_mark(cells) == mark


def test_gaps_are_not_numbers_and_units_do_not_mix():
    made = numbers(["1", "NA", "", None, "n/a", "-", "2 km"], ".")
    assert np.isnan(made).tolist() == [False, True, True, True, True, True, False]
    with pytest.raises(UserError, match="unit 'km' and others 'mi'|unit 'mi' and others 'km'"):
        numbers(["1 km", "2 mi"])
    with pytest.raises(ValueError) as raised:
        numbers(["1", "two"])
    assert raised.value.args == (1,)


@pytest.mark.parametrize("one, other", [("1", "1.0"), ("+1", "1.00"), ("0", "-0.0"), ("10", "1e1"), ("007", "7")])
def test_spellings_of_one_class(one, other):
    assert class_key(one) == class_key(other)
    assert class_key("1a") == "1a" and class_key("1") != class_key("1.5")
