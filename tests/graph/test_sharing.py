"""`same`, `like` and `tie`: one module in two places, one definition, one parameter."""

from __future__ import annotations

import pytest

from tests.graph.recipes import bad, good, names, outputs, parameters, rows, wires

X = 'inputs: {x: "[batch seq 8]"}\n'


def owner(report: object, address: str) -> str:
    return next(row.node.same for row in rows(report) if row.address == address)  # type: ignore[arg-type, union-attr]


def test_same_is_one_more_use_with_the_same_weights() -> None:
    report = good(X + """
nodes:
  one: {kind: linear, out: 8, from: x}
  two: {same: one, from: one}
outputs: {y: two}
""")
    assert owner(report, "two") == "one"
    assert parameters(report) == 72


def test_like_is_the_definition_with_weights_of_its_own() -> None:
    report = good(X + """
nodes:
  one: {kind: mlp, hidden: 3, from: x}
  two: {like: one, activation: relu, from: one}
outputs: {y: two}
""")
    assert parameters(report) == 2 * 59


def test_same_and_like_leave_from_where_it_is_written() -> None:
    """`c` once read `x`, as `embed` does, instead of the part before it."""
    report = good(X + """
nodes:
  embed: {kind: linear, out: 8, from: x}
  stack:
    kind: sequence
    from: embed
    parts:
      a: {kind: mlp}
      b: {same: a}
      c: {same: embed}
outputs: {y: stack}
""")
    assert wires(report, "stack") == {"a": {"x": [".x"]}, "b": {"x": ["a.y"]}, "c": {"x": ["b.y"]}}


def test_same_inside_a_repeat_means_the_same_copy() -> None:
    report = good(X + """
nodes:
  stack: {kind: sequence, repeat: 3, from: x, parts: {a: {kind: linear, out: 8}, b: {same: a}}}
outputs: {y: stack}
""")
    assert owner(report, "stack.*.b") == "stack.*.a"
    assert parameters(report) == 3 * 72


def test_same_of_one_copy_is_that_copy_and_no_repeat() -> None:
    """It once became a repeat of its own, and of no copy in particular."""
    report = good(X + """
nodes:
  one: {kind: bus, repeat: 2, from: x, parts: {a: {kind: mlp}}}
  two: {same: one.0, from: one}
  three: {same: one.-1.a, from: two}
outputs: {y: three}
""")
    assert owner(report, "two") == "one.0"
    assert owner(report, "three") == "one.1.a"
    assert names(report)[-4:] == ["two", "two.a", "two.a_add", "three"]


def test_same_of_a_part_of_many_copies_wants_a_number() -> None:
    """It once broke the node without a word."""
    bad(X + """
nodes:
  one: {kind: bus, repeat: 2, from: x, parts: {a: {kind: mlp}}}
  two: {same: one.a, from: one}  #~ address-many
outputs: {y: two}
""")


def test_same_of_a_repeat_has_as_many_copies() -> None:
    report = good(X + """
nodes:
  one: {kind: bus, repeat: 2, from: x, parts: {a: {kind: mlp, hidden: 3}}}
  two: {same: one, from: one}
outputs: {y: two}
""")
    assert parameters(report) == 2 * 59


def test_same_of_a_repeat_with_another_count_is_refused() -> None:
    bad(X + """
nodes:
  one: {kind: bus, repeat: 2, from: x, parts: {a: {kind: mlp}}}
  two: {same: one, repeat: 3, from: one}  #~ share-mismatch
outputs: {y: two}
""")


def test_same_of_a_container_that_takes_another_width_is_refused() -> None:
    """It once counted, and could have built, weights of another shape."""
    found = bad(X + """
nodes:
  one: {kind: sequence, from: x, parts: {a: {kind: mlp}, b: {kind: linear, out: 4}}}
  two: {same: one, from: one}  #~ share-mismatch
outputs: {y: two}
""")
    assert "`a` takes 8, and 4 arrives" in found.message


def test_an_option_beside_same_that_the_module_does_not_have_is_refused() -> None:
    """`activation: relu` was once dropped without a word: the module has its own."""
    bad(X + """
nodes:
  one: {kind: mlp, from: x}
  two: {same: one, activation: relu, from: one}  #~ share-mismatch
outputs: {y: two}
""")


def test_a_width_beside_same_is_an_assertion() -> None:
    good(X + """
nodes:
  one: {kind: mlp, from: x}
  two: {same: one, hidden: 32, from: one}
outputs: {y: two}
""")
    bad(X + """
nodes:
  one: {kind: mlp, from: x}
  two: {same: one, hidden: 3, from: one}  #~ share-mismatch
outputs: {y: two}
""")


@pytest.mark.parametrize("word", ["same", "like"])
def test_same_and_like_that_lead_back_are_a_cycle(word: str) -> None:
    bad(X + f"""
nodes:
  a: {{{word}: b, from: x}}  #~ share-cycle
  b: {{{word}: a, from: a}}
outputs: {{y: b}}
""")


@pytest.mark.parametrize("word", ["same", "like"])
def test_a_part_cannot_be_what_holds_it(word: str) -> None:
    """This once unfolded 64 levels deep before it stopped."""
    bad(X + f"""
nodes:
  a: {{kind: sequence, from: x, parts: {{b: {{kind: mlp}}, c: {{{word}: a}}}}}}  #~ share-cycle
outputs: {{y: a}}
""")


@pytest.mark.parametrize("word", ["same", "like"])
def test_same_of_nothing_is_unknown(word: str) -> None:
    found = bad(X + f"""
nodes:
  first: {{kind: mlp, from: x}}
  a: {{{word}: frist, from: first}}  #~ share-unknown
outputs: {{y: a}}
""")
    assert "first" in found.help


def test_like_of_a_container_can_change_its_keys() -> None:
    report = good(X + """
nodes:
  one: {kind: bus, repeat: 2, norm: pre, from: x, parts: {a: {kind: mlp, hidden: 3}}}
  two: {like: one, repeat: 3, norm: out, from: one}
outputs: {y: two}
""")
    assert outputs(report)["two.*.a_out_norm"] == "[batch seq 8]"
    assert parameters(report) == (2 + 3) * (59 + 16)


# --- tie ---
def test_tie_is_one_parameter_in_two_places() -> None:
    report = good("""
inputs: {x: "ids(50) [batch seq]"}
nodes:
  embed: {kind: sequence, from: x, parts: {table: {kind: embedding, out: 8}}}
  head: {kind: linear, out: 50, bias: false, tie: {weight: embed.table.weight}, from: embed}
outputs: {y: head}
""")
    assert parameters(report) == 400


def test_tie_to_a_further_use_is_tied_to_the_module() -> None:
    report = good(X + """
nodes:
  a: {kind: linear, out: 8, from: x}
  b: {same: a, from: a}
  c: {kind: linear, out: 8, from: b, tie: {weight: b.weight}}
outputs: {y: c}
""")
    assert next(row.node.ties for row in rows(report) if row.name == "c") == {"weight": "a.weight"}  # type: ignore[union-attr]


def test_tied_parameters_of_two_shapes_are_refused() -> None:
    found = bad("""
inputs: {x: "ids(50) [batch seq]"}
nodes:
  embed: {kind: embedding, out: 8, from: x}
  head: {kind: linear, out: 40, bias: false, tie: {weight: embed.weight}, from: embed}  #~ share-mismatch
outputs: {y: head}
""")
    assert "[40, 8] against [50, 8]" in found.message


def test_a_parameter_tied_to_one_copy_is_held_to_its_shape() -> None:
    """The number of the copy once hid the shape."""
    bad(X + """
nodes:
  one: {kind: sequence, repeat: 2, from: x, parts: {a: {kind: linear, out: 8}}}
  two: {kind: linear, out: 4, tie: {weight: one.1.a.weight}, from: one}  #~ share-mismatch
outputs: {y: two}
""")


@pytest.mark.parametrize(
    ("tie", "said"),
    [("{wieght: a.weight}", "weight"), ("{weight: a.wieght}", "weight"), ("{weight: aa.weight}", "address"), ("{weight: weight}", "address")],
)
def test_a_tie_that_names_nothing_is_unknown(tie: str, said: str) -> None:
    found = bad(X + f"""
nodes:
  a: {{kind: linear, out: 8, from: x}}
  b: {{kind: linear, out: 8, tie: {tie}, from: a}}  #~ share-unknown
outputs: {{y: b}}
""")
    assert said in found.help


def test_ties_in_a_circle_own_nothing() -> None:
    """Both parameters once counted as the other's, and neither was there."""
    bad(X + """
nodes:
  a: {kind: linear, out: 8, from: x, tie: {weight: b.weight}}  #~ share-cycle
  b: {kind: linear, out: 8, from: a, tie: {weight: a.weight}}
outputs: {y: b}
""")


def test_a_tie_beside_a_container_is_refused() -> None:
    """It was once dropped without a word."""
    bad(X + """
nodes:
  a: {kind: linear, out: 8, from: x}
  b: {kind: sequence, tie: {weight: a.weight}, from: a, parts: {p: {kind: linear, out: 8}}}  #~ place-conflict
outputs: {y: b}
""")
