"""The normal form of sizes against integer evaluation; port types against their spelling."""

from __future__ import annotations

import copy
import pickle
import random
from functools import reduce
from operator import mul

import pytest

from assembler_schemas.dim import MAX_FLOOR_DEPTH, MAX_PRODUCT
from assembler_schemas.shape import (
    Dim,
    DimLimit,
    ExpressionError,
    Floor,
    Poly,
    Type,
    atoms,
    combine,
    evaluate,
    exact_divide,
    floor_divide,
    lower_bound,
    name,
    names,
    parse_expression,
    parse_port_type,
    port_type_data,
    show,
    substitute,
    variables,
    window,
)

NAMES = ("a", "b", "c", "?x")
H, W = name("h"), name("w")


def random_dim(draw: random.Random, depth: int = 3) -> Dim:
    """Any dim that a few operations make, floors inside floors included."""
    choice = draw.randrange(7) if depth else draw.randrange(2)
    if choice == 0:
        return draw.randint(-4, 6)
    if choice == 1:
        return name(draw.choice(NAMES))
    left = random_dim(draw, depth - 1)
    if choice == 2:
        return floor_divide(left, draw.randint(1, 5))
    right = random_dim(draw, depth - 1)
    return left + right if choice < 5 else left - right if choice == 5 else left * right


def random_values(draw: random.Random) -> dict[str, int]:
    return {text: draw.randint(1, 9) for text in NAMES}


CASES = range(400)


# --- normal form ---
@pytest.mark.parametrize("op", ["+", "-", "*"])
def test_arithmetic_is_that_of_the_integers(op: str) -> None:
    for seed in CASES:
        draw = random.Random(seed)
        left, right, values = random_dim(draw), random_dim(draw), random_values(draw)
        whole = left + right if op == "+" else left - right if op == "-" else left * right
        a, b = evaluate(left, values), evaluate(right, values)
        assert evaluate(whole, values) == (a + b if op == "+" else a - b if op == "-" else a * b)


def test_a_result_without_names_is_an_int() -> None:
    assert type(H - H) is int
    assert type(H - (H + 3)) is int
    assert (H + 1) - H == 1
    assert H * 0 == 0
    assert type(floor_divide(2 * H + 1 - 2 * H, 2)) is int
    for seed in CASES:
        dim = random_dim(random.Random(seed))
        assert isinstance(dim, int) or any(dim.terms), "a Poly is never constant"
        assert isinstance(dim, int) or all(dim.terms.values()), "no coefficient is zero"


def test_equal_however_it_was_made() -> None:
    assert H * W == W * H
    assert hash((H + 1) * (H - 1)) == hash(H * H - 1)
    assert (H + 1) * (H - 1) == H * H - 1
    assert 2 * (H + 3) == 6 + H + H
    assert 3 - H == -(H - 3)
    assert H != W
    assert H != 1
    assert H != "h"
    assert len({H + W, W + H, combine(((W, 1), (H, 1)))}) == 1


def test_it_never_changes_and_survives_pickle_and_deepcopy() -> None:
    dim = floor_divide(H + W, 2) * H + 1
    assert isinstance(dim, Poly)
    for twin in (pickle.loads(pickle.dumps(dim)), copy.deepcopy(dim)):
        assert twin == dim
        assert hash(twin) == hash(dim)
    (floor,) = (atom for atom in atoms(dim) if isinstance(atom, Floor))
    with pytest.raises(AttributeError, match="never changes"):
        dim.terms = {}
    with pytest.raises(AttributeError, match="never changes"):
        floor.divisor = 3
    assert repr(dim) == "Poly(h*floor((h + w) / 2) + 1)"
    assert repr(floor) == "floor((h + w) / 2)"
    assert floor == Floor(floor.argument, 2)
    assert floor != Floor(floor.argument, 3)
    twin = floor
    assert twin == floor
    assert floor != "floor((h + w) / 2)"


# --- floors ---
def test_floor_divide_is_integer_floor_division() -> None:
    for seed in CASES:
        draw = random.Random(seed)
        dim, divisor, values = random_dim(draw), draw.randint(1, 12), random_values(draw)
        assert evaluate(floor_divide(dim, divisor), values) == evaluate(dim, values) // divisor


@pytest.mark.parametrize(
    ("dim", "divisor", "shown"),
    [
        (4 * H + 3, 2, "2*h + 1"),
        (H, 1, "h"),
        (2 * H, 2, "h"),
        (3 * H, 2, "h + floor(h / 2)"),
        (H + 1, 2, "floor((h + 1) / 2)"),
        (H + 5, 2, "floor((h + 1) / 2) + 2"),
        (H - 1, 2, "floor((h + 1) / 2) - 1"),
        (2 * H + 3, 4, "floor((h + 1) / 2)"),
        (2 * H + 2 * W, 6, "floor((h + w) / 3)"),
        (floor_divide(H, 2), 2, "floor(h / 4)"),
        (floor_divide(H + 1, 2) + 1, 2, "floor((h + 3) / 4)"),
        (floor_divide(H, 3) + W, 2, "floor((h + 3*w) / 6)"),
        (7, 2, "3"),
        (-7, 2, "-4"),
    ],
)
def test_floors_are_canonical(dim: Dim, divisor: int, shown: str) -> None:
    assert show(floor_divide(dim, divisor)) == shown


def test_two_windows_in_a_row_are_one_when_they_are() -> None:
    half = window(H, 2, 2)
    assert window(half, 2, 2) == window(H, 4, 4)
    assert window(H, 3, 1, 1) == H
    assert window(224, 7, 2, 3) == 112
    assert show(window(H, 3, 2, 1)) == "floor((h + 1) / 2)"


def test_window_counts_what_a_loop_counts() -> None:
    for seed in CASES:
        draw = random.Random(seed)
        size, kernel, stride, padding, dilation = (draw.randint(low, 9) for low in (1, 1, 1, 0, 1))
        reach = dilation * (kernel - 1) + 1
        places = len(range(0, size + 2 * padding - reach + 1, stride))
        shape = window(name("a"), kernel, stride, padding, dilation)
        assert max(evaluate(shape, {"a": size}), 0) == places
        assert evaluate(shape, {"a": size}) == window(size, kernel, stride, padding, dilation)


def test_nothing_inside_a_floor_is_negative() -> None:
    """What `lower_bound` stands on."""
    seen = 0
    for seed in CASES:
        floors = [atom for atom in atoms(random_dim(random.Random(seed), 4)) if isinstance(atom, Floor)]
        seen += len(floors)
        assert all(factor > 0 for floor in floors for factor in floor.argument.terms.values())
    assert seen > 50


def test_a_floor_wants_a_positive_divisor() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        floor_divide(H, 0)


# --- division ---
def test_exact_division_undoes_multiplication() -> None:
    for seed in CASES:
        draw = random.Random(seed)
        left, right = random_dim(draw, 2), random_dim(draw, 2)
        if right != 0:
            assert exact_divide(left * right, right) == left


def test_a_quotient_is_right_wherever_there_is_one() -> None:
    found = 0
    for seed in range(2000):
        draw = random.Random(seed)
        left, right, values = random_dim(draw, 2), random_dim(draw, 1), random_values(draw)
        quotient = exact_divide(left, right)
        if quotient is not None:
            found += 1
            assert evaluate(quotient, values) * evaluate(right, values) == evaluate(left, values)
    assert found > 300


@pytest.mark.parametrize(
    ("a", "b", "quotient"),
    [
        (12, 4, 3),
        (12, 5, None),
        (12, 0, None),
        (0, H, 0),
        (3, H, None),
        (H, 0, None),
        (4 * H + 8, 4, H + 2),
        (4 * H + 2, 4, None),
        (H * W, H, W),
        (H * W + W, H + 1, W),
        (H * W + 1, H, None),
        (2 * H + 2, H + 1, 2),
        (H + 1, 2 * H + 2, None),
        (H, H, 1),
        (-H, H, -1),
        (H, W, None),
    ],
)
def test_exact_division(a: Dim, b: Dim, quotient: Dim | None) -> None:
    assert exact_divide(a, b) == quotient
    assert type(exact_divide(a, b)) is type(quotient)


# --- names, substitution, bounds ---
def test_names_are_found_inside_floors() -> None:
    dim = floor_divide(H + name("?k"), 2) + W * W + 1
    assert names(dim) == {"h", "?k", "w"}
    assert variables(dim) == {"?k"}
    assert {atom for atom in atoms(dim) if isinstance(atom, str)} == {"w"}
    assert names(3) == variables(3) == atoms(3) == frozenset()


def test_substitution_then_evaluation_is_evaluation() -> None:
    for seed in CASES:
        draw = random.Random(seed)
        dim, values = random_dim(draw), random_values(draw)
        for_a, for_x = random_dim(draw, 1), random_dim(draw, 2)
        changed = substitute(dim, {"a": for_a, "?x": for_x})
        inner = {**values, "a": evaluate(for_a, values), "?x": evaluate(for_x, values)}
        assert evaluate(changed, values) == evaluate(dim, inner)
        assert substitute(dim, dict(values)) == evaluate(dim, values)


def test_substitution_is_all_at_once() -> None:
    assert substitute(H - W, {"h": W, "w": H}) == W - H
    assert substitute(5, {"h": W}) == 5
    dim = H + W
    assert substitute(dim, {"x": 3}) is dim


def test_a_lower_bound_holds_and_is_reached_by_sums() -> None:
    known = 0
    for seed in range(2000):
        draw = random.Random(seed)
        dim = random_dim(draw)
        bound = lower_bound(dim)
        if bound is not None:
            known += 1
            assert all(evaluate(dim, random_values(draw)) >= bound for _ in range(5))
    assert known > 500
    assert lower_bound(2 * H + W - 5) == -2
    assert lower_bound(H - W) is None
    assert lower_bound(floor_divide(H + 1, 2)) == 1
    assert lower_bound(floor_divide(H, 2) * floor_divide(W, 2)) == 0
    assert lower_bound(name("a") * floor_divide(H - W, 2)) is None


# --- printing ---
def test_what_is_shown_reads_back_the_same() -> None:
    for seed in CASES:
        dim = random_dim(random.Random(seed))
        text = show(dim).replace("?", "")
        plain = substitute(dim, {"?x": name("x")})
        back = parse_expression(text, True).evaluate(name)
        values = {**random_values(random.Random(seed)), "x": 5}
        assert evaluate(back, values) == evaluate(plain, values)


@pytest.mark.parametrize(
    ("dim", "text"),
    [
        (2 * name("d") + 1, "2*d + 1"),
        (H * W, "h*w"),
        (H * H - W, "h*h - w"),
        (3 - H, "3 - h"),
        (-H - 1, "-h - 1"),
        (-2 * H, "-2*h"),
        (12, "12"),
        (name("?d"), "?d"),
    ],
)
def test_show(dim: Dim, text: str) -> None:
    assert show(dim) == text


# --- limits ---
def test_a_product_of_many_sums_is_refused_before_it_fills_memory() -> None:
    factors = [name(f"a{index}") + name(f"b{index}") for index in range(64)]
    with pytest.raises(DimLimit) as caught:
        reduce(mul, factors)
    assert caught.value.reason == "too complex"


def test_a_product_of_two_long_sums_is_refused_half_way() -> None:
    left, right = (combine((name(f"{text}{index}"), 1) for index in range(200)) for text in "ab")
    with pytest.raises(DimLimit, match="too complex"):
        left * right


def test_a_sum_of_thousands_of_names_is_refused() -> None:
    with pytest.raises(DimLimit, match="too complex"):
        combine((name(f"a{index}"), 1) for index in range(5000))


def test_a_coefficient_past_64_bits_is_refused() -> None:
    assert show(MAX_PRODUCT * H) == f"{MAX_PRODUCT}*h"
    with pytest.raises(DimLimit) as caught:
        _ = (MAX_PRODUCT * H) * 2
    assert caught.value.reason == "too large"


def test_floors_that_do_not_merge_are_refused_before_they_nest_deep() -> None:
    with pytest.raises(DimLimit, match="too complex"):
        reduce(lambda dim, _: floor_divide(2 * dim, 3), range(MAX_FLOOR_DEPTH + 1), H)


def test_shared_floors_do_not_unfold_without_bound() -> None:
    names_ = [name(f"n{index}") for index in range(16)]
    with pytest.raises(DimLimit, match="too complex"):
        reduce(lambda dim, other: floor_divide(3 * dim + 2 * dim * other, 7), names_, H)


# --- types ---
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("dense bf16 [batch seq 512]", None),
        ("ids(vocab) [batch seq]", None),
        ("ids [batch]", None),
        ("ids(30522) i32 [batch]", None),
        ("image [batch 3 8*h 8*w]", "image f32 [batch 3 8*h 8*w]"),
        ("image f32 [batch 1 8 8]", None),
        ("[... d]", None),
        ("dense [... d]", "[... d]"),
        ("dense float [d]", "[d]"),
        ("bf16 [d]", "dense bf16 [d]"),
        ("mask [batch seq]", None),
        ("mask f32 [batch seq]", None),
        ("probs f16 [d]", None),
        ("scalar", "scalar f32 []"),
        ("scalar []", "scalar f32 []"),
        ("scalar bf16", "scalar bf16 []"),
        ("[]", None),
        ("  ids( 2 * (a + b) )  [ x   (a + b) ]  ", "ids( 2 * (a + b) ) [x (a + b)]"),
        ("[batch\n  seq]", "[batch seq]"),
    ],
)
def test_a_port_type_prints_as_recipes_spell_it(text: str, shown: str | None) -> None:
    parsed = parse_port_type(text)
    assert str(parsed) == (shown or text)
    assert str(parse_port_type(str(parsed))) == str(parsed)


def test_defaults_of_a_medium() -> None:
    assert [parse_port_type(f"{medium}[a]").dtype for medium in ("", "ids", "mask", "logits")] == [
        "float",
        "int",
        "bool",
        "float",
    ]
    ids = parse_port_type("ids(vocab) [batch seq]")
    assert ids.vocabulary is not None
    assert ids.vocabulary.names == ("vocab",)
    assert [dim.text for dim in ids.dims] == ["batch", "seq"]
    assert ids.lead is None
    assert parse_port_type("[... d]").lead == "..."


def test_cards_may_call_functions_and_count_edges() -> None:
    port = parse_port_type("[batch window(length, kernel, 2, 0, 1) floor(h + 1, 2) sum(d#) e#]", True)
    assert [dim.text for dim in port.dims][1:] == [
        "window(length, kernel, 2, 0, 1)",
        "floor(h + 1, 2)",
        "sum(d#)",
        "e#",
    ]
    with pytest.raises(ExpressionError):
        parse_port_type("[batch sum(d#)]")


@pytest.mark.parametrize(
    ("text", "code", "place", "said"),
    [
        ("", "port-type-syntax", "", "are missing"),
        ("dense", "port-type-syntax", "", "are missing"),
        ("batch seq 384", "port-type-syntax", "batch", "no medium or dtype `batch`"),
        ("imgae [b]", "port-type-syntax", "imgae", "no medium or dtype"),
        ("dense float32 [b]", "port-type-syntax", "float32", "no dtype"),
        ("dense bf16 f16 [b]", "port-type-syntax", "f16 [b]", "are missing"),
        ("[batch seq", "port-type-syntax", "[", "never closed"),
        ("[batch] seq", "port-type-syntax", " seq", "something follows"),
        ("[batch, seq]", "port-type-syntax", ",", "separated by spaces"),
        ("[batch ... d]", "port-type-syntax", "...", "before all other axes"),
        ("[... ... d]", "port-type-syntax", "...", "before all other axes"),
        ("[batch 2 * d]", "port-type-syntax", "*", "spaces separate axes"),
        ("[batch 2* d]", "port-type-syntax", "2*", "spaces separate axes"),
        ("ids(vocab [batch]", "port-type-syntax", "(", "never closed"),
        ("dense(5) [batch]", "port-type-syntax", "(5)", "has no vocabulary"),
        ("ids() [batch]", "expression-syntax", "", "empty"),
        ("ids(4d) [batch]", "expression-syntax", "4d", "operator is missing"),
        ("[batch 4d]", "expression-syntax", "4d", "operator is missing"),
        ("[batch f(3)]", "expression-syntax", "f(", "is a call"),
        ("[batch [seq]]", "expression-syntax", "[", "no meaning"),
        ("scalar [d]", "port-type-syntax", "[d]", "no axes"),
        ("[" + "a " * 33 + "]", "port-type-syntax", "a", "more than 32 axes"),
        ("[" + "a " * 3000 + "]", "port-type-syntax", None, "characters"),
        ("[batch\u202e]", "expression-syntax", "\u202e", "U+202E"),
    ],
)  # fmt: skip
def test_what_a_port_type_cannot_be(text: str, code: str, place: str | None, said: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_port_type(text)
    error = caught.value
    assert error.code == code
    assert said in error.message
    assert 0 <= error.start <= error.end <= len(text)
    assert place is None or text[error.start : error.end] == place


def test_the_nearest_dtype_is_offered() -> None:
    for text, near in (
        ("dense float32 [b]", "f32"),
        ("dense long [b]", "i64"),
        ("imgae [b]", "image"),
        ("Ids [b]", "ids"),
    ):
        with pytest.raises(ExpressionError) as caught:
            parse_port_type(text)
        assert caught.value.fix == near


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("[batch seq]", "[batch seq]"),
        (["batch seq 384"], "[batch seq 384]"),
        (["batch", "seq", 384], "[batch seq 384]"),
        (["batch", "a + b"], "[batch (a + b)]"),
        (["batch", "(a + b)"], "[batch (a + b)]"),
        ([], "[]"),
        ([384], "[384]"),
    ],
)
def test_a_list_that_yaml_made_is_the_text_in_brackets(data: object, text: str) -> None:
    assert port_type_data(data) == text
    parse_port_type(text)


@pytest.mark.parametrize("data", [None, True, 3, 2.5, {"a": 1}, ["a", True], ["a", 1.5], ["a", None], [["a"]], [{}]])
def test_anything_else_is_no_port_type(data: object) -> None:
    with pytest.raises(ExpressionError) as caught:
        port_type_data(data)
    assert caught.value.code == "port-type-syntax"


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (Type("dense", "float", (name("batch"), 10)), "[batch 10]"),
        (Type("image", "float", (name("batch"), 1, 8, 8)), "image f32 [batch 1 8 8]"),
        (Type("dense", "bf16", (H + 1,)), "dense bf16 [(h + 1)]"),
        (Type("dense", "float", (window(H, 3, 2, 1), 2 * H)), "[floor((h + 1) / 2) 2*h]"),
        (Type("dense", "float", (floor_divide(H, 2) + 1,)), "[(floor(h / 2) + 1)]"),
        (Type("dense", "float", (64,), "..."), "[... 64]"),
        (Type("ids", "int", (name("batch"),), "", 50257), "ids(50257) [batch]"),
        (Type("mask", "bool", (name("batch"),)), "mask [batch]"),
        (Type("dense", "int", (4,)), "dense int [4]"),
    ],
)
def test_a_type_prints_as_recipes_spell_it(found: Type, text: str) -> None:
    assert str(found) == text
    assert str(parse_port_type(text, True)) == text
    assert len({found, Type(*found)}) == 1
