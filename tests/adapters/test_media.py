"""Contracts 1.4: where two media do not meet the finding names what mends the edge, and that edit does mend it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from assembler.adapters.bridges import gradient
from assembler.graph.insert import ADAPTERS
from assembler.library import registry
from assembler.report.data import to_data
from assembler.report.tree import render_tree
from assembler_schemas.kind import Definition, Inline, Kind, Options, Port, Size, step
from tests.graph.recipes import bad, check, codes, good, kinds, outputs, size

GIVEN = {
    "dense": "[batch seq 8]",
    "ids": "ids(20) [batch seq]",
    "logits": "logits [batch seq 20]",
    "probs": "probs [batch seq 20]",
    "mask": "mask [batch seq]",
    "image": "image [batch 3 32 32]",
    "scalar": "scalar",
}
"""One input of each medium."""

TAKEN = {
    "dense": "{kind: linear, out: 4, from: value}",
    "ids": "{kind: embedding, out: 4, from: value}",
    "logits": "{kind: straight_through, from: value}",
    "mask": "{kind: mean_pool, from: {x: rows, mask: value}}",
    "image": "{kind: patch_embed, patch: 4, out: 4, from: value}",
}
"""A node that takes each medium. No kind takes probabilities as such, nor one number."""

FITS = "fits"
EXPECTED: dict[tuple[str, str], str] = {
    **{(medium, medium): FITS for medium in TAKEN},
    ("logits", "dense"): FITS, ("probs", "dense"): FITS, ("image", "dense"): FITS, ("dense", "logits"): FITS, ("image", "logits"): FITS,
    ("ids", "dense"): "embedding", ("ids", "logits"): "embedding",
    ("dense", "ids"): "argmax", ("logits", "ids"): "argmax", ("probs", "ids"): "argmax",
    ("probs", "logits"): "double-softmax: drop one of the two",
    ("image", "ids"): "dtype-mismatch: `patch_embed`", ("ids", "image"): "dtype-mismatch: and `x` takes 4 axes",
    **{("mask", medium): "dtype-mismatch: nothing makes numbers of one" for medium in TAKEN if medium != "mask"},
    **{(medium, "mask"): "dtype-mismatch: an input of type `mask [" for medium in ("dense", "ids", "logits", "probs", "image")},
    ("scalar", "mask"): "dtype-mismatch: an input of type `mask [",
    ("scalar", "ids"): "dtype-mismatch: one number is no row of logits",
    **{(medium, "image"): "shape-rank: feed another value" for medium in ("dense", "logits", "probs", "scalar")},
    **{("scalar", medium): "shape-rank: feed another value" for medium in ("dense", "logits")},
}  # fmt: skip
"""(what is given, what is taken) -> that it fits, the adapter that is offered, or the code and the words of an
error that no adapter mends."""


def _recipe(given: str, taken: str) -> str:
    rows = 'rows: "[batch seq 8]", ' if taken == "mask" else ""
    return f'inputs: {{{rows}value: "{GIVEN[given]}"}}\nnodes:\n  node: {TAKEN[taken]}\noutputs: {{y: node}}\n'


def _edits(text: str) -> list[str]:
    """What a help says to write."""
    return re.findall(r"`(from: \{port: .*?\})`", text)


def _applied(recipe: str, edit: str) -> str:
    address = re.match(r"from: \{port: ([\w.]+),", edit)
    assert address is not None, edit
    found = re.sub(rf"from: {address[1]}(?=[,}}])", edit.replace("\\", ""), recipe, count=1)
    if found == recipe:  # One of several edges.
        found = re.sub(rf"(?<=[ \[]){address[1]}(?=[,\]}}])", edit.removeprefix("from: "), recipe.replace(f'"{address[1]}"', "\0"), count=1)
    return found


def test_every_pair_of_media_has_an_answer() -> None:
    assert set(EXPECTED) == {(given, taken) for given in GIVEN for taken in TAKEN}


@pytest.mark.parametrize(("given", "taken"), EXPECTED)
def test_a_pair_of_media_fits_or_its_finding_says_what_to_write(given: str, taken: str) -> None:
    recipe, wanted = _recipe(given, taken), EXPECTED[given, taken]
    report = check(recipe)
    if wanted == FITS:
        assert report.ok, str(report)
        return
    first = report.diagnostics[0]
    code, _, words = wanted.rpartition(": ")
    if code:
        assert (first.code, _edits(first.help)) == (code, [])
        assert words in first.help
        return
    assert first.code == "dtype-mismatch"
    (edit,) = _edits(first.help)
    assert wanted in edit
    mended = good(_applied(recipe, edit))
    assert kinds(mended)["node_x_adapter"] == wanted
    assert "gradient" in next(item.message for item in mended.diagnostics if item.code == "adapter-inserted")


def test_double_softmax_is_mended_by_dropping_one() -> None:
    text = """
inputs: {x: "[batch 8]"}
nodes:
  p: {kind: softmax, from: x}
  one: {kind: KIND, from: p}  #~ double-softmax
outputs: {y: one}
"""
    for kind in ("softmax", "straight_through", "gumbel"):
        bad(text.replace("KIND", kind))
        good(text.replace("KIND", kind).replace("from: p}  #~ double-softmax", "from: x}").replace("  p: {kind: softmax, from: x}\n", ""))
    good(text.replace("KIND", "argmax").replace("  #~ double-softmax", ""))


# --- axes and widths ---
JOIN = """
inputs: {{one: "{one}", two: "{two}"}}
nodes:
  node: {{kind: add, from: [{first}, {second}]}}
outputs: {{y: node}}
"""


@pytest.mark.parametrize("order", [("one", "two"), ("two", "one")])
@pytest.mark.parametrize(("one", "two", "kind"), [("image [batch 3 32 24]", "[batch patches 6]", "patch_embed"), ("[batch seq 6]", "[batch 6]", "mean_pool"), ("[batch a b 6]", "[batch a 6]", "mean_pool")])
def test_of_two_values_with_unlike_axes_the_one_with_more_is_mended(one: str, two: str, kind: str, order: tuple[str, str]) -> None:
    recipe = JOIN.format(one=one, two=two, first=order[0], second=order[1])
    finding = next(item for item in check(recipe).diagnostics if item.level == "error")
    assert finding.code == "shape-rank"
    (edit,) = _edits(finding.help)
    assert "port: one," in edit
    mended = check(_applied(recipe, edit))
    assert kinds(mended)["node_one_adapter"] == kind
    if kind == "mean_pool":
        assert mended.ok
    else:  # How many patches there are is the image's to say.
        assert {item.code for item in mended.diagnostics if item.level == "error"} == {"dim-rigid"}
        assert outputs(mended)["node_one_adapter"] == "[batch 12 6]"


@pytest.fixture
def picks() -> Iterator[str]:
    """A kind that takes a fixed number of logits."""

    class PickOptions(Options):
        classes: Size

    def define(options: PickOptions) -> Definition:
        return Definition({"x": Port("logits [... classes]")}, {"y": Port("ids(classes) [...]")}, Inline("{x}.argmax(dim=-1)"), sizes={"classes": options.classes})

    registry.register(Kind("pick_of_ten", "a test's", PickOptions, define))
    yield "pick_of_ten"
    registry.unregister("pick_of_ten")


def test_features_become_logits_by_a_linear_head(picks: str) -> None:
    recipe = f'inputs: {{x: "[batch seq 8]"}}\nnodes:\n  node: {{kind: {picks}, classes: 10, from: x}}\noutputs: {{y: node}}\n'
    finding = next(item for item in check(recipe).diagnostics if item.level == "error")
    assert (finding.code, "a linear head" in finding.help) == ("shape-mismatch", True)
    mended = good(_applied(recipe, _edits(finding.help)[0]))
    assert (kinds(mended)["node_x_adapter"], size(mended, "node_x_adapter", "out")) == ("linear", 10)


def test_ids_take_the_width_of_what_they_are_added_to() -> None:
    recipe = JOIN.format(one="ids(20) [batch seq]", two="[batch seq 6]", first="one", second="two")
    finding = next(item for item in check(recipe).diagnostics if item.level == "error")
    assert finding.code == "dtype-mismatch"
    assert outputs(good(_applied(recipe, _edits(finding.help)[0])))["node_one_adapter"] == "[batch seq 6]"


# --- the bridges as adapters ---
SPEAK = """
inputs: {text: "ids(20) [batch seq]"}
nodes:
  e: {kind: embedding, out: 8, from: text}
  head: {kind: linear, out: 20, from: e}
  reader: READER
outputs: {y: reader, aux: losses}
"""
ONE_HOT = "{kind: linear, out: 8, bias: false, from: {port: PORT, adapt: ADAPT}}"


@pytest.mark.parametrize(("adapt", "gradient"), [("softmax", "exact"), ("gumbel", "estimated"), ("{kind: gumbel, hard: false}", "estimated"), ("straight_through", "estimated")])
def test_what_argmax_lets_no_gradient_through_the_others_do(adapt: str, gradient: str) -> None:
    """The ways that the help for logits -> ids offers."""
    report = good(SPEAK.replace("READER", ONE_HOT).replace("PORT", "head").replace("ADAPT", adapt))
    assert outputs(report)["reader_x_adapter"] == "probs f32 [batch seq 20]"
    (note,) = [item.message for item in report.diagnostics if item.code == "adapter-inserted"]
    assert note.endswith(f"gradient {gradient}")


def test_argmax_as_an_adapter_cuts_what_is_before_it() -> None:
    bad(SPEAK.replace("READER", "{kind: embedding, out: 8, from: {port: head, adapt: argmax}}").replace("out: 8, from: text}", "out: 8, from: text}  #~ cut-parameter"))


def test_a_codebook_on_an_edge_is_kept_and_its_loss_collected() -> None:
    report = good(SPEAK.replace("  head: {kind: linear, out: 20, from: e}\n", "").replace("READER", ONE_HOT).replace("PORT", "e").replace("ADAPT", "{kind: vector_quantize, codes: 16, ema: false}"))
    assert kinds(report)["reader_x_adapter"] == "vector_quantize"
    (note,) = [item.message for item in report.diagnostics if item.code == "adapter-inserted"]
    assert note.endswith("128 parameters, 128 MAC a position, loses all but which code is nearest: at most 4 of 128 bits, gradient estimated")


@pytest.mark.parametrize("adapt", ["argmax", "gumbel", "straight_through", "vector_quantize"])
def test_no_bridge_is_put_unasked(adapt: str) -> None:
    """Not even where nothing else would fit."""
    report = check(SPEAK.replace("READER", "{kind: embedding, out: 8, from: head}"))
    assert codes(report) == [("dtype-mismatch", 6)]
    assert adapt in report.diagnostics[0].help


# --- the page ---
PAGE = (Path(__file__).parents[2] / "docs" / "kinds" / "bridges.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
def test_the_recipes_of_the_page_are_what_it_says(text: str) -> None:
    if "#~" in text:
        assert "adapt: argmax" in bad(text).help
    else:
        good(text)


def test_the_page_has_a_row_for_every_adapter() -> None:
    table = PAGE.partition("## The table")[2].partition("\n## ")[0]
    assert {name for name in ADAPTERS if f"`{name}`" not in table} == {"permute", "conv"}


# --- what is said of them ---
def test_the_report_says_what_a_bridge_costs_loses_and_does_to_the_gradient() -> None:
    report = good("""
inputs: {text: "ids(20) [batch seq]"}
nodes:
  e: {kind: embedding, out: 8, from: text}
  head: {kind: linear, out: 20, from: e}
  hard: {kind: straight_through, from: head}
  again: {kind: add, from: [e, {port: hard, adapt: linear}]}
  reader: {kind: embedding, out: 8, from: {port: hard, adapt: argmax}}
outputs: {y: again, z: reader}
""")
    nodes = to_data(report)["model"]["nodes"]
    assert {key: nodes["reader_x_adapter"][key] for key in ("macs", "loses", "gradient")} == {"macs": 0, "loses": "all but which is largest: at most 4.322 of 320 bits", "gradient": "none"}
    assert {key: nodes["again_hard_adapter"][key] for key in ("macs", "loses", "gradient")} == {"macs": 160, "loses": "all but 8 of 20 directions", "gradient": "exact"}
    assert {name: entry["gradient"] for name, entry in nodes.items() if "gradient" in entry and not name.endswith("adapter")} == {"hard": "estimated"}
    assert report.graph is not None
    assert report.facts is not None
    lines = {line.split()[0 if "+" not in line else 1]: line for line in render_tree(report.graph, report.facts).splitlines() if line.strip()}
    assert lines["hard"].endswith("# gradient estimated")
    assert "no gradient back" in lines["reader_x_adapter"]
    assert "gradient" not in lines["head"]


@pytest.mark.parametrize(
    ("kind", "options", "effect"),
    [("identity", {}, "exact"), ("detach", {}, "none"), ("zero", {}, "none"), ("embedding", {"out": 4}, "table only"), ("argmax", {}, "none"), ("gumbel", {"hard": False}, "estimated"),
     ("vector_quantize", {"codes": 4, "ema": False}, "estimated"), ("attention", {"heads": 2}, "exact"), ("learned_position", {}, "exact"), ("batch_norm", {}, "exact")],
)  # fmt: skip
def test_the_effect_on_a_gradient_is_read_off_the_body(kind: str, options: dict[str, object], effect: str) -> None:
    card = registry.kind(kind)
    assert card is not None
    assert gradient(card.define(card.options.model_validate(options))) == effect


def test_a_hand_written_straight_through_is_estimated_too() -> None:
    steps = (step("soft", "softmax", "x"), step("still", "detach", "soft"), step("back", "multiply", "still", scale=-1), step("change", "add", "soft", "back"), step("y", "multiply", "x", "change"))
    assert gradient(Definition({"x": Port("[... d]")}, {"y": Port("[... d]")}, Inline(""), body=steps)) == "estimated"
