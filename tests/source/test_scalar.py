"""Unquoted scalars: YAML 1.2 decides the value, YAML 1.1 only whether a warning is due."""

from __future__ import annotations

import math

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from assembler.source.scalar import OLD_WORDS, is_number, old_reading, resolve

PLAIN = [
    ("", None), ("~", None), ("null", None), ("Null", None), ("NULL", None), ("nULL", "nULL"),
    ("true", True), ("True", True), ("TRUE", True), ("false", False), ("False", False), ("FALSE", False), ("tRue", "tRue"),
    ("0", 0), ("-0", 0), ("+12", 12), ("512", 512), ("9999999999999999999", 9999999999999999999),
    ("0o17", 15), ("0x1F", 31), ("0o8", "0o8"), ("0xg", "0xg"), ("-0o7", "-0o7"),
    ("1e3", 1000.0), ("1e-3", 0.001), ("1E+3", 1000.0), (".5", 0.5), ("5.", 5.0), ("-.5e1", -5.0), ("0e5", 0.0), ("1.10", 1.1),
    (".inf", math.inf), ("-.Inf", -math.inf), ("+.INF", math.inf),
    ("inf", "inf"), ("nan", "nan"), ("infinity", "infinity"), ("+.nan", "+.nan"), (".", "."), ("-", "-"), ("+", "+"),
    ("1e", "1e"), ("e3", "e3"), ("1.2.3", "1.2.3"), ("0,5", "0,5"), ("64k", "64k"), ("2024-01-01", "2024-01-01"),
    ("=", "="), ("<<", "<<"), ("4*width", "4*width"), ("0:3", "0:3"), ("::4", "::4"), ("-1.x", "-1.x"), ("٦٤", "٦٤"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), PLAIN)
def test_core_schema_without_doubt(text, value):
    data, doubt = resolve(text)
    assert doubt == ""
    assert data == value
    assert type(data) is type(value)


def test_not_a_number_is_read_as_one():
    assert all(math.isnan(resolve(text).data) for text in (".nan", ".NaN", ".NAN"))


def test_minus_zero_keeps_its_sign():
    assert math.copysign(1, resolve("-0.0").data) == -1


@pytest.mark.parametrize("text", ["yes", "No", "ON", "off"])
def test_words_of_1_1_stay_text_with_a_doubt(text):
    assert resolve(text) == (text, "word")
    assert old_reading(text) in ("true", "false")


@pytest.mark.parametrize(("text", "value"), [("010", 10), ("-010", -10), ("+07", 7), ("08", 8), ("00", 0)])
def test_a_leading_zero_is_decimal_with_a_doubt(text, value):
    assert resolve(text) == (value, "zero")


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("1_000", "the number 1000"),
        ("0b11", "the number 3"),
        ("-0b11", "the number -3"),
        ("-0x1F", "the number -31"),
        ("12:30", "a number in base 60"),
        ("190:20:30.15", "a number in base 60"),
        ("1_0.5", "the number 10.5"),
    ],
)
def test_numbers_of_1_1_stay_text_with_a_doubt(text, reading):
    assert resolve(text) == (text, "number")
    assert old_reading(text) == reading


@pytest.mark.parametrize("text", ["1" * 20, "-" + "1" * 20, "0x" + "f" * 20, "0o" + "7" * 20, "1_" * 20, "1" + ":59" * 3000, "9" * 5000])
def test_long_numbers_are_never_converted(text):
    assert resolve(text) == (text, "digits")
    assert is_number(text)


@pytest.mark.parametrize(("text", "doubt"), [("1e400", "overflow"), ("-1e999", "overflow"), ("1e-400", "underflow")])
def test_floats_that_would_silently_become_infinite_or_zero(text, doubt):
    assert resolve(text).doubt == doubt


def test_a_zero_that_is_written_as_zero_is_no_underflow():
    assert [resolve(text) for text in ("0.0", "-0e9", "0.000")] == [(0.0, ""), (-0.0, ""), (0.0, "")]


NUMBERS = st.one_of(
    st.integers(-(10**18), 10**18).map(str).filter(lambda text: not text.lstrip("-").startswith("0") or text == "0"),
    st.floats(allow_nan=False, allow_infinity=False, min_value=1e-3, max_value=1e6).map(repr).filter(lambda text: "e" not in text),
)


@settings(max_examples=300, deadline=None)
@given(NUMBERS)
def test_numbers_on_which_both_versions_agree(text):
    data, doubt = resolve(text)
    expected = yaml.safe_load(text)
    assert (data, type(data), doubt) == (expected, type(expected), "")


@settings(max_examples=500, deadline=None)
@given(st.text("0123456789abfeExoXyYnN_:.+-", min_size=1, max_size=12))
def test_a_doubt_is_voiced_wherever_pyyaml_reads_something_else(text):
    """Only what 1.1 reads as text (`1e3`, `0o7`) may differ without a word."""
    loader = yaml.SafeLoader("")
    tag = loader.resolve(yaml.ScalarNode, text, (True, False))
    data, doubt = resolve(text)
    if tag.endswith((":str", ":timestamp", ":merge", ":value")):
        return
    if tag.endswith(":bool") and text in OLD_WORDS:
        assert doubt == "word"
        return
    node = yaml.ScalarNode(tag, text)
    try:
        theirs = loader.construct_object(node)
    except (ValueError, IndexError):  # PyYAML takes `0b_`, `0x_` and `._` for numbers, and fails on them
        return
    assert doubt or (data == theirs and type(data) is type(theirs)) or data != data
