"""Size expressions against Python's own evaluation, and what is said of text that is none."""

from __future__ import annotations

import copy
import pickle
import random
import time

import pytest

from assembler_schemas.codes import CODES
from assembler_schemas.expression import Expression, ExpressionError, check_size, parse_expression
from assembler_schemas.shape import Dim, evaluate, name, show, window

VALUES = {"a": 3, "b_2": 12, "width": 64, "h": 7}


def wrong(text: str, functions: bool = False) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        parse_expression(text, functions)
    return caught.value


def failing(text: str, values: dict[str, Dim]) -> ExpressionError:
    expression = parse_expression(text, True)
    with pytest.raises(ExpressionError) as caught:
        expression.evaluate(values)
    return caught.value


def outcome(text: str) -> tuple[Dim, str]:
    """What a text comes to with its names left as they are, or the code of the error."""
    try:
        return parse_expression(text).evaluate(name), ""
    except ExpressionError as error:
        return 0, error.code


def random_text(draw: random.Random, budget: int) -> str:
    """An expression of at most `budget` leaves, with spaces, signs and parentheses at random."""
    if budget <= 1:
        leaf = draw.choice([*VALUES, str(draw.randint(0, 99))])
        return draw.choice(["", "", "", "-", "- -"]) + leaf
    left = draw.randint(1, budget - 1)
    space = draw.choice(["", " "])
    text = space.join(
        [random_text(draw, left), draw.choice(["+", "-", "*", "*", "//", "/"]), random_text(draw, budget - left)]
    )
    return f"({text})" if draw.random() < 0.4 else text


def exactly(text: str, values: dict[str, int]) -> int | None:
    """Python's own value; None where a division has a remainder somewhere (or is by zero)."""

    class Whole(int):
        def __floordiv__(self, other: int) -> Whole:
            if self % other:
                raise ZeroDivisionError
            return Whole(int(self) // int(other))

        __truediv__ = __floordiv__  # type: ignore[assignment]
        __add__ = lambda self, other: Whole(int(self) + int(other))  # type: ignore[assignment] # noqa: E731
        __sub__ = lambda self, other: Whole(int(self) - int(other))  # type: ignore[assignment] # noqa: E731
        __mul__ = lambda self, other: Whole(int(self) * int(other))  # type: ignore[assignment] # noqa: E731
        __neg__ = lambda self: Whole(-int(self))  # type: ignore[assignment] # noqa: E731

    import re

    wrapped = re.sub(r"\b\d+\b", r"W(\g<0>)", text)
    try:
        return int(eval(wrapped, {"W": Whole}, {key: Whole(value) for key, value in values.items()}))  # noqa: S307
    except ZeroDivisionError:
        return None


def test_random_expressions_are_what_python_says() -> None:
    outcomes = {"value": 0, "refused": 0}
    for seed in range(3000):
        draw = random.Random(seed)
        text = random_text(draw, draw.randint(1, 9))
        expected = exactly(text, VALUES)
        if expected is None:
            assert failing(text, dict(VALUES)).code == "expression-division", text
            outcomes["refused"] += 1
        else:
            found = parse_expression(text).evaluate(VALUES)
            assert found == expected, text
            assert type(found) is int
            outcomes["value"] += 1
    assert min(outcomes.values()) > 300


def test_symbolic_values_then_numbers_are_numbers_at_once() -> None:
    """Where the symbolic division succeeds; where it does not, the error says so."""
    agreed = 0
    for seed in range(1500):
        draw = random.Random(seed)
        text = random_text(draw, draw.randint(1, 6))
        symbolic, code = outcome(text)
        assert code in ("", "expression-division"), text
        if not code:
            agreed += 1
            assert evaluate(symbolic, VALUES) == exactly(text, VALUES), text
    assert agreed > 700


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("64", 64),
        ("010", 10),
        (" 4*width ", 256),
        ("-a", -3),
        ("2*-a", -6),
        ("--a", 3),
        ("a - 1 - 1", 1),
        ("width // 4 // 2", 8),
        ("width / 4", 16),
        ("-b_2 // 4", -3),
        ("2*(a + 1)", 8),
        ("((((a))))", 3),
        ("a\n+\t1\r", 4),
        ("9223372036854775807", 2**63 - 1),
        ("a*0", 0),
    ],
)
def test_value(text: str, value: int) -> None:
    assert parse_expression(text).evaluate(VALUES) == value
    assert parse_expression(text).evaluate(VALUES.__getitem__) == value


def test_names_come_once_and_in_order() -> None:
    assert parse_expression("b + a*b - c").names == ("b", "a", "c")
    assert parse_expression("3").names == ()
    assert parse_expression("sum(d#) + n", True).names == ("d#", "n")


def test_an_expression_is_a_value() -> None:
    expression = parse_expression("4*width")
    assert expression is parse_expression("4*width")
    assert (str(expression), repr(expression)) == ("4*width", "Expression('4*width')")
    for twin in (pickle.loads(pickle.dumps(expression)), copy.deepcopy(expression)):
        assert twin == expression
        assert hash(twin) == hash(expression)
        assert twin.evaluate(VALUES) == 256
    assert expression != parse_expression("width*4")
    assert expression != "4*width"
    with pytest.raises(AttributeError, match="never changes"):
        expression.text = "5"


# --- cards ---
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("floor(h, 2)", 3),
        ("floor(h / 2)", 3),
        ("floor((h + 1) / 2) + 1", 5),
        ("-floor(h, 2)", -3),
        ("window(h, 3, 2, 1, 1)", 4),
        ("window(width, a, 2*1, (0), 1) * 2", 62),
        ("floor(floor(width, 3), floor(h, 3))", 10),
        ("sum(d#)", 30),
        ("2*sum(d#) + a", 63),
    ],
)
def test_functions_of_cards(text: str, value: int) -> None:
    values: dict[str, Dim | list[Dim]] = {**VALUES, "d#": [10, 20]}
    assert parse_expression(text, True).evaluate(values) == value


def test_functions_take_run_time_sizes() -> None:
    h = name("h")
    assert parse_expression("window(h, 3, 2, 1, 1)", True).evaluate(name) == window(h, 3, 2, 1)
    assert parse_expression("sum(d#)", True).evaluate({"d#": [h, 2, h]}) == 2 * h + 2
    assert parse_expression("sum(d#)", True).evaluate({"d#": h}) == h
    assert parse_expression("d# + 1", True).evaluate({"d#": h}) == h + 1


def test_what_is_printed_of_a_floor_reads_back() -> None:
    dim = window(name("h"), 3, 2, 1)
    assert parse_expression(show(dim), True).evaluate(name) == dim


def test_cards_may_write_long_texts() -> None:
    assert parse_expression(" + ".join(["1"] * 500), True).evaluate({}) == 500
    assert parse_expression("(" * 5000 + "a" + ")" * 5000, True).evaluate({"a": 2}) == 2
    assert parse_expression("-" * 5000 + "a", True).evaluate({"a": 2}) == 2


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("floor(h)", "floor(h)", "takes 2 sizes, not 1"),
        ("floor(h // 2)", "floor(h // 2)", "takes 2 sizes, not 1"),
        ("floor(h, 2, 3)", "floor(h, 2, 3)", "takes 2 sizes, not 3"),
        ("window(h, 2)", "window(h, 2)", "takes 5 sizes, not 2"),
        ("floor()", ")", "missing before"),
        ("floor(, 2)", ",", "missing before"),
        ("floor(h, )", ")", "missing before"),
        ("floor(h, 2", "floor", "never closed"),
        ("ceil(h, 2)", "ceil", "no function"),
        ("a, b", ",", "outside a call"),
        ("(a, b)", ",", "outside a call"),
        ("sum(d)", "sum(", "one name that ends in"),
        ("sum(d# + 1)", "sum(", "one name that ends in"),
        ("sum(3)", "sum(", "one name that ends in"),
        ("sum(d#", "sum(", "one name that ends in"),
        ("sum(d#) d", ") d", "an operator is missing"),
        ("d#x", "#", "comment"),
        ("d #", "#", "comment"),
    ],
)
def test_calls_that_cards_cannot_write(text: str, place: str, said: str) -> None:
    error = wrong(text, True)
    assert error.code == "expression-syntax"
    assert text[error.start : error.end] == place
    assert said in error.message


# --- hostile and mistaken texts: code, place, message, and the text to put there ---
@pytest.mark.parametrize(
    ("text", "place", "said", "fix"),
    [
        ('__import__("os").system("x")', "__import__(", "is a call", ""),
        ("d.__class__", ".", "no part of a size", ""),
        ("d[0]", "[", "no meaning", ""),
        ("(lambda: 1)()", ":", "no meaning", ""),
        ("[i for i in x]", "[", "no meaning", ""),
        ("f(3)", "f(", "is a call", ""),
        ("floor(h, 2)", "floor(", "is a call", ""),
        ("d if d else 1", "d if", "operator is missing", ""),
        ("d % 0", "%", "remainder", ""),
        ("d = 64", "=", "assigns", ""),
        ("d == 64", "==", "compares", ""),
        ("d*4;", ";", "ends a statement", ""),
        ("d*4 # x", "#", "comment", ""),
        ("d#", "#", "comment", ""),
        ("d**2", "**", "power", ""),
        ("d^2", "^", "no operator", ""),
        ("d×4", "×", "only looks like `*`", "*"),
        ("d·4", "·", "only looks like `*`", "*"),
        ("d − 4", "−", "only looks like `-`", "-"),
        ("（d)", "（", "only looks like `(`", "("),
        ("4d", "4d", "operator is missing", "4*d"),
        ("d 4", "d 4", "operator is missing", "d*4"),
        ("2 3", "2 3", "operator is missing", ""),
        ("2(d)", "2(", "operator is missing", ""),
        ("(d)2", ")2", "operator is missing", ""),
        ("4 e3", "4 e3", "operator is missing", "4*e3"),
        ("1e3", "1e3", "not a whole number", ""),
        ("4.5", ".", "no part of a size", ""),
        ("a, b", ",", "separates nothing", ""),
        ("٤", "٤", "digits of another script", ""),
        ("４*d", "４", "digits of another script", ""),
        ("d²", "d²", "not a name", ""),
        ("dModel", "dModel", "not a name", "dmodel"),
        ("D", "D", "not a name", "d"),
        ("dé", "dé", "not a name", ""),
        ("ԁ", "ԁ", "not a name", ""),
        ("'a'", "'", "no meaning", ""),
        ("a\x00", "\x00", "U+0000", ""),
        ("d\u202e", "\u202e", "U+202E", ""),
        ("\u00a0d", "\u00a0", "U+00A0", ""),
        ("{{7*7}}", "{", "no meaning", ""),
        ("", "", "empty", ""),
        ("  ", "  ", "empty", ""),
        ("()", ")", "missing before", ""),
        ("*a", "*", "missing before", ""),
        ("a + * b", "*", "missing before", ""),
        ("+a", "+", "missing before", ""),
        ("a +", "+", "nothing follows", ""),
        ("-", "-", "nothing follows", ""),
        ("(a", "(", "never closed", ""),
        ("a)", ")", "closes nothing", ""),
        ("(a + b))", ")", "closes nothing", ""),
    ],
)  # fmt: skip
def test_what_an_expression_cannot_be(text: str, place: str, said: str, fix: str) -> None:
    error = wrong(text)
    assert error.code == "expression-syntax"
    assert text[error.start : error.end] == place
    assert said in error.message
    assert error.fix == fix
    if fix:
        parse_expression(text[: error.start] + fix + text[error.end :])


@pytest.mark.parametrize(
    "text",
    ["2*" * 10_000 + "2", "-" * 5000 + "1", "(" * 300 + "1", "a" * 1_000_000, "2*" * 33 + "2", "-" * 64 + "1", "(" * 17 + "1" + ")" * 17, "1" * 20],
)  # fmt: skip
def test_a_text_past_the_limits_is_refused_at_once(text: str) -> None:
    start = time.perf_counter()
    error = wrong(text)
    assert error.code == "expression-limit"
    assert 0 <= error.start < error.end <= len(text)
    assert time.perf_counter() - start < 0.5


@pytest.mark.parametrize(
    "text", ["2*" * 31 + "-2", "(" * 16 + "1" + ")" * 16, "9" * 18, "a" * 256, "+".join(["a"] * 32)]
)
def test_a_text_within_the_limits_is_read(text: str) -> None:
    parse_expression(text).evaluate({"a": 1, "a" * 256: 1})


# --- evaluation that fails: the part, and the values of its names ---
@pytest.mark.parametrize(
    ("text", "code", "place", "said"),
    [
        ("d/0", "expression-division", "d/0", "`d/0` divides by zero (d = 64)"),
        ("1 + d//0", "expression-division", "d//0", "divides by zero (d = 64)"),
        ("d/(a-a)", "expression-division", "d/(a-a)", "divides by zero (d = 64, a = 3)"),
        ("2*(d // a)", "expression-division", "d // a", "`d // a` leaves a remainder: 64 is not a multiple of 3 (d = 64, a = 3)"),
        ("(d + 1) // 2 + a", "expression-division", "(d + 1) // 2", "65 is not a multiple of 2 (d = 64)"),
        ("-d // a", "expression-division", "-d // a", "-64 is not a multiple of 3"),
        ("7 // 2", "expression-division", "7 // 2", "`7 // 2` leaves a remainder: 7 is not a multiple of 2"),
        ("4*dmodel", "expression-unknown", "dmodel", "`dmodel` has no value here"),
        ("sum(e#)", "expression-unknown", "sum(e#)", "`e#` has no value here"),
        ("1 + many#", "expression-unknown", "many#", "a row of sizes"),
        ("seq // 2", "expression-division", "seq // 2", "seq need not be a multiple of 2"),
        ("floor(d, seq)", "expression-unknown", "floor(d, seq)", "division by seq, which is no number yet"),
        ("floor(d, a - 3)", "expression-division", "floor(d, a - 3)", "division by 0"),
        ("window(d, 3, 0, 0, 1)", "expression-division", "window(d, 3, 0, 0, 1)", "division by 0"),
        ("a + d*9223372036854775807", "dim-range", "d*9223372036854775807", "does not fit in 64 bits (d = 64)"),
        ("9999999999999999999", "dim-range", "9999999999999999999", "does not fit in 64 bits"),
        ("-9223372036854775807 - d", "dim-range", "-9223372036854775807 - d", "does not fit in 64 bits"),
        ("9223372036854775807*seq*2", "dim-range", "9223372036854775807*seq*2", "too large"),
    ],
)  # fmt: skip
def test_the_part_that_fails_is_named_with_its_values(text: str, code: str, place: str, said: str) -> None:
    error = failing(text, {"d": 64, "a": 3, "seq": name("seq"), "many#": [1, 2]})  # type: ignore[dict-item]
    assert error.code == code
    assert code in CODES
    assert text[error.start : error.end] == place
    assert said in error.message


def test_a_product_of_many_sums_is_too_complex() -> None:
    text = "*".join(f"(a{i} + b{i})" for i in range(9))
    expression = parse_expression(text)
    with pytest.raises(ExpressionError, match="too complex") as caught:
        expression.evaluate(name)
    assert caught.value.code == "expression-limit"


def test_a_caller_may_decide_what_division_means() -> None:
    asked: list[tuple[Dim, Dim]] = []

    def divide(a: Dim, b: Dim) -> Dim | None:
        asked.append((a, b))
        return name("?q")

    assert parse_expression("seq // 2 + 1").evaluate(name, divide) == name("?q") + 1
    assert asked == [(name("seq"), 2)]
    with pytest.raises(ExpressionError, match="divides by zero"):
        parse_expression("seq // 0").evaluate(name, divide)


def test_40_doublings_grow_and_fail_only_when_used_as_a_size() -> None:
    values: dict[str, int] = {"p0": 1}
    for i in range(1, 41):
        value = parse_expression(f"p{i - 1} + p{i - 1}").evaluate(values)
        assert isinstance(value, int)
        values[f"p{i}"] = value
    assert values["p40"] == 2**40
    with pytest.raises(ExpressionError) as caught:
        check_size(values["p40"], "p40")
    assert caught.value.code == "dim-range"


# --- the range of a size ---
@pytest.mark.parametrize(
    ("value", "text", "said"),
    [
        (0, "d - 64", "`d - 64` is 0: a size is at least 1"),
        (-1, "d - 65", "`d - 65` is -1: a size is at least 1"),
        (2**31, "d", "`d` is 2147483648: a size is at most 2147483647"),
        (0, "0", "a size of 0: a size is at least 1"),
    ],
)
def test_a_size_out_of_range(value: int, text: str, said: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        check_size(value, text)
    assert caught.value.code == "dim-range"
    assert caught.value.message == said
    assert (caught.value.start, caught.value.end) == (0, len(text))


def test_a_size_out_of_range_says_what_its_names_are() -> None:
    expression = parse_expression("d - 65")
    for lookup in ({"d": 64}, {"d": 64}.__getitem__):
        with pytest.raises(ExpressionError) as caught:
            check_size(expression.evaluate(lookup), expression, lookup=lookup)
        assert caught.value.message == "`d - 65` is -1 (d = 64): a size is at least 1"
    with pytest.raises(ExpressionError, match="`d - 65` is -1: a size"):
        check_size(-1, expression)


def test_a_size_in_range_is_handed_on() -> None:
    assert check_size(1, "1") == 1
    assert check_size(2**31 - 1, "d") == 2**31 - 1
    assert check_size(0, "0", low=0) == 0
    assert check_size(name("seq"), "seq") == name("seq")


def test_an_error_can_be_moved_into_a_longer_text() -> None:
    error = wrong("4d").shifted(10)
    assert (error.start, error.end, error.code, error.fix) == (10, 12, "expression-syntax", "4*d")
    assert isinstance(error, ValueError)
    assert str(error) == error.message


def test_reading_is_quick() -> None:
    expression = parse_expression("4*width + 1")
    assert isinstance(expression, Expression)
    start = time.perf_counter()
    for _ in range(10_000):
        expression.evaluate(VALUES)
    assert time.perf_counter() - start < 1.0, "evaluation is on the hot path of inference"
