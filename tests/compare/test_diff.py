"""What differs between two recipes: in meaning, not in text."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from assembler import cli
from assembler.assemble import RecipeError, load
from assembler.compare.diff import Aspect, Diff, Node, diff
from assembler.compare.diff_text import MAX_ASPECTS, _code, data, listed, markdown, text

RECIPES = sorted(path.stem for path in Path("recipes").glob("*.yaml"))
TEXT = """\
name: small
vars: {width: 8}
inputs: {x: "[batch 4]"}
nodes:
  up: {kind: linear, out: width, from: x}
  act: {kind: activation, from: up}
  head: {kind: linear, out: 3, from: act}
outputs: {y: head}
"""


def plain(recipe: str) -> Any:
    return yaml.safe_load(recipe)


def of(before: str, after: str) -> Diff:
    return diff(plain(before), plain(after))


def one(found: Diff) -> Node:
    (node,) = found.nodes
    return node


# --- the same ---
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_and_its_resolved_form_are_the_same(name: str) -> None:
    recipe = load(f"recipes/{name}.yaml")
    found = diff(recipe, recipe.tree.plain())
    assert found.same
    assert str(found).splitlines()[1:] == ["the same"]
    assert not found.weights.survey.new
    assert found.weights.moved == 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("out: width", "out: 8"),
        ("out: width", "out: 2*width-8"),
        ("{kind: linear, out: 3, from: act}", "{kind: linear, in: 8, out: 3, bias: true, from: act}"),
        ("name: small", "name: other\ndescription: it says something else"),
        ("vars: {width: 8}", "vars: {width: 8, unused: 3}"),
        ("  act: {kind: activation, from: up}\n", "  act: {kind: activation, activation: gelu, from: up}\n  spare: {kind: linear, out: 9, from: up}\n"),
    ],
)
def test_what_means_the_same_differs_in_nothing(old: str, new: str) -> None:
    """Stated or inferred, as a number or an expression; nor does what no output needs count."""
    assert of(TEXT, TEXT.replace(old, new)).same


# --- what differs ---
def test_an_option_is_an_aspect_with_both_values() -> None:
    node = one(of(TEXT, TEXT.replace("kind: activation", "kind: activation, activation: relu")))
    assert (node.sort, node.address, node.kind, node.parameters) == ("changed", "act", "activation", 0)
    assert node.aspects == (Aspect("activation", "gelu", "relu"),)


def test_a_width_changes_options_types_parameters_and_shapes() -> None:
    found = diff(plain(TEXT), ["vars.width=16"])
    assert [(node.address, node.parameters) for node in found.nodes] == [("up", 40), ("act", 0), ("head", 24)]
    assert found.nodes[1].aspects == (Aspect("type of y", "[batch 8]", "[batch 16]"),)
    assert found.nodes[2].aspects == (Aspect("in", "8", "16"),), "the bound of its start follows the width, and goes without saying"
    assert (found.sizes[0].parameters, found.sizes[1].parameters) == (67, 131)
    assert [(item.after.key, item.why) for item in found.weights.survey.changed] == [
        ("up.weight", "[8 4] became [16 4]"),
        ("up.bias", "[8] became [16]"),
        ("head.weight", "[3 8] became [3 16]"),
    ]


def test_another_kind_at_the_same_place_is_one_change_and_keeps_no_weight() -> None:
    found = of(TEXT, TEXT.replace("head: {kind: linear", "head: {kind: mlp"))
    assert one(found).aspects == (Aspect("kind", "linear", "mlp"),)
    assert {item.key for item in found.weights.survey.dropped} == {"head.weight", "head.bias"}


def test_a_node_that_was_renamed_has_moved_and_nothing_else_changed() -> None:
    found = of(TEXT, TEXT.replace("head", "exit"))
    assert found.nodes == (Node("moved", "exit", "linear", 1, was="head"),)
    assert found.weights.moved == 2
    assert not found.weights.survey.new
    assert not found.same


def test_a_move_that_the_recipe_states_is_believed() -> None:
    """Twins that were renamed together could each be the other."""
    twins = 'inputs: {x: "[batch 4]"}\nnodes:\n  a: {kind: linear, out: 4, from: x}\n  b: {kind: linear, out: 4, from: x}\n  s: {kind: add, from: [a, b]}\noutputs: {y: s}\n'
    after = twins.replace("a: {", "c: {").replace("b: {", "d: {").replace("[a, b]", "[c, d]")
    assert not of(twins, after).weights.survey.kept
    moved = of(twins, after + "moved: {a: d, b: c}\n")
    assert {(one.key, two.key) for one, two in moved.weights.survey.kept} == {("a.weight", "d.weight"), ("a.bias", "d.bias"), ("b.weight", "c.weight"), ("b.bias", "c.bias")}


def test_another_source_is_told_from_another_name_of_the_same() -> None:
    found = of(TEXT, TEXT.replace("from: act", "from: up"))
    assert [(node.sort, node.address) for node in found.nodes] == [("gone", "act"), ("changed", "head")]
    assert found.nodes[1].aspects == (Aspect("reads x", "act.y", "up.y"),)
    renamed = of(TEXT, TEXT.replace("  act:", "  bend:").replace("from: act", "from: bend"))
    assert [(node.sort, node.address) for node in renamed.nodes] == [("moved", "bend")]


def test_inputs_and_outputs_are_held_against_one_another() -> None:
    found = of(TEXT, TEXT.replace("y: head", "y: head, z: act").replace("out: 3", "out: 5"))
    assert found.ports == (Aspect("output y", "[batch 3]", "[batch 5]"), Aspect("output z", "", "[batch 8]"))


def test_a_runtime_size_under_another_name_is_said_of_the_inputs_alone() -> None:
    text = TEXT.replace("[batch 4]", "[rows seq 4]")
    found = of(text, text.replace("rows", "seq_").replace("seq 4", "rows 4"))
    assert found.ports == (Aspect("input x", "[rows seq 4]", "[seq_ rows 4]"), Aspect("output y", "[rows seq 3]", "[seq_ rows 3]"))
    assert not found.nodes


def test_contracts_are_said_norm_states_zeros_and_who_learns() -> None:
    found = diff("recipes/digits.yaml", ["+nodes.encoder.parts.think.init=zero", "+nodes.head.freeze=true"])
    said = {(node.address, item.name): (item.before, item.after) for node in found.nodes for item in node.aspects}
    assert said["encoder.*.think", "zero at the start"] == ("", "y")
    assert said["encoder.*.think", "norm of y"] == ("raw", "zero")
    assert said["encoder.*.think", "up.weight learns"] == ("step 0", "step 1")
    assert said["head", "weight learns"] == ("step 0", "frozen")
    assert found.sizes[1].trainable == found.sizes[0].trainable - 650


def test_an_adapter_that_appears_is_a_new_node_that_says_so() -> None:
    text = 'inputs: {x: "[batch 16]", pixels: "[batch 16]"}\nnodes:\n  stream:\n    kind: bus\n    from: {x: x, pixels: pixels}\n    parts:\n      see: {kind: activation, from: pixels}\noutputs: {y: stream}\n'
    found = of(text, text.replace('pixels: "[batch 16]"', 'pixels: "[batch 24]"'))
    (node,) = [node for node in found.nodes if node.sort == "new"]
    assert (node.kind, node.adapter, node.parameters) == ("linear", "auto", 24 * 16 + 16)


def test_the_certificate_of_a_graft_is_part_of_it() -> None:
    base = load("recipes/digits.yaml").tree.plain()
    graft = {"side": {"read": "encoder.1.think", "write": "encoder.1.think", "mode": "add", "init": "zero", "part": {"kind": "linear"}}}
    found = diff(base, {**base, "grafts": graft})
    (item,) = found.grafts
    assert item.name == "graft side"
    assert not item.before
    assert item.after.startswith("(add): silent at the start")


def test_what_a_graft_does_inside_a_node_is_told_though_no_weight_and_no_type_changes() -> None:
    base = {"inputs": {"x": "[batch seq 16]"}, "nodes": {"attend": {"kind": "attention", "heads": 2, "from": "x"}}, "outputs": {"y": "attend"}}
    graft = {"write": "attend.q", "mode": "gate", "part": {"kind": "low_rank", "rank": 2}}
    found = diff({**base, "grafts": {"side": graft}}, {**base, "grafts": {"side": {**graft, "form": "tanh", "scale": 0.5}}})
    ((aspect,),) = [node.aspects for node in found.nodes]
    assert (aspect.name, aspect.after) == ("q.side", "tanh 0.5 of y: LowRank(heads*head_dim, heads*head_dim, rank=2)")
    assert aspect.before == aspect.after.replace("tanh 0.5", "one_plus 1.0")


def test_a_module_that_is_handed_over_says_what_it_now_reads_and_has_no_number_of_parameters() -> None:
    """Its sites are ports while nobody writes to them: what is cut into stretches is no change of types."""
    host = {"kind": "given", "ports": {"in": {"x": "[batch seq 6]"}, "out": {"y": "[batch seq 5]"}}, "sites": {"a": "l.0 [batch seq 8]", "b": "l.1 [batch seq 8]"}, "from": "x"}
    base = {"inputs": {"x": "[batch seq 6]"}, "nodes": {"host": host, "head": {"kind": "linear", "out": 3, "from": "host"}}, "outputs": {"y": "head"}}
    found = diff(base, {**base, "grafts": {"side": {"read": "host.a", "write": "host.a", "mode": "add", "init": "zero", "part": {"kind": "mlp"}}}})
    assert {item.name.split()[0] for node in found.nodes for item in node.aspects} == {"reads"}
    assert found.sizes[0].parameters is None
    assert "  parameters: not known" in list(text(found))


def test_like_copies_are_one_row_what_they_read_included() -> None:
    found = diff("recipes/digits.yaml", ["slots/ffn=moe"])
    rows = {node.address: node for node in found.nodes}
    assert (rows["encoder.*.think"].sort, rows["encoder.*.think"].copies) == ("gone", 4)
    assert (rows["encoder.*.think.experts.*"].sort, rows["encoder.*.think.experts.*"].copies) == ("new", 32)
    (item,) = rows["encoder.*.think_add"].aspects
    assert item.after == "encoder.*.attend_add.y, encoder.*.think.mix.y"
    assert found.sizes[1].active is not None


def test_a_repeat_that_grows_keeps_the_copies_it_had() -> None:
    found = diff("recipes/digits.yaml", ["vars.depth=6"])
    assert {node.address: node.sort for node in found.nodes if node.kind == "attention"} == {"encoder.4:6.attend": "new"}
    (last,) = [node for node in found.nodes if node.sort == "changed"]
    assert last.aspects == (Aspect("reads x", "encoder.3.think_add.y", "encoder.5.think_add.y"),)
    assert not found.weights.survey.dropped


@pytest.mark.parametrize("name", RECIPES)
def test_every_weight_of_either_side_is_accounted_for(name: str) -> None:
    found = diff(f"recipes/{name}.yaml", "recipes/digits.yaml")
    survey = found.weights.survey
    assert len(survey.kept) + len(survey.changed) + len(survey.dropped) == len(found.weights.before)
    assert len(survey.kept) + len(survey.changed) + len(survey.new) == len(found.weights.after)


def test_the_difference_of_parameters_is_that_of_the_nodes() -> None:
    for overrides in (["slots/ffn=moe"], ["vars.width=32", "vars.depth=7"], ["nodes.encoder.norm=both"]):
        found = diff("recipes/digits.yaml", overrides)
        assert sum(node.parameters for node in found.nodes) == found.sizes[1].parameters - found.sizes[0].parameters


# --- folders ---
def test_a_saved_folder_says_which_of_its_weights_survive(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from assembler.assemble import build
    from assembler.weights.folder import save

    torch.set_num_threads(1)
    save(build(plain(TEXT), seed=0, dtype=torch.bfloat16), tmp_path / "run")
    found = diff(tmp_path / "run", plain(TEXT.replace("out: 3", "out: 5").replace("kind: activation", "kind: activation, activation: relu")))
    assert [two.key for _, two in found.weights.survey.kept] == ["up.weight", "up.bias"]
    assert sum(found.weights.before[one.key] for one, _ in found.weights.survey.kept) == 2 * (8 * 4 + 8), "bytes of the file"
    assert diff(tmp_path / "run", plain(TEXT)).same
    assert cli.main(["diff", str(tmp_path / "run"), str(tmp_path / "run")]) == 0
    (tmp_path / "run" / "model.safetensors").write_bytes(b"x" * 9)
    assert cli.main(["diff", str(tmp_path / "run"), str(tmp_path / "run")]) == 2


# --- errors ---
def test_a_side_that_does_not_check_is_an_error() -> None:
    with pytest.raises(RecipeError, match="unknown-kind"):
        of(TEXT, TEXT.replace("kind: activation", "kind: activatio"))
    with pytest.raises(RecipeError, match="override-unknown"):
        diff(plain(TEXT), ["vars.nobody=3"])


def test_a_graph_that_is_not_unfolded_is_not_compared() -> None:
    deep = plain('inputs: {x: "[batch 4]"}\nnodes:\n  a: {kind: activation, repeat: 20001, from: x}\noutputs: {y: a}\n')
    with pytest.raises(ValueError, match="shallower"):
        diff(deep, plain(TEXT))


# --- shown ---
def test_the_text_of_a_diff() -> None:
    assert "\n".join(text(diff(plain(TEXT), plain(TEXT.replace("head", "exit").replace("out: 3", "out: 5")), ()), True)) == """\
small -> small

inputs and outputs
  output y: [batch 3] -> [batch 5]

nodes: 1 moved, 1 changed
  > exit  was head
  ~ exit  linear, +18 parameters
      out: 3 -> 5
      type of y: [batch 3] -> [batch 5]

size
  parameters: 67 -> 85 (+18)
  trainable: 67 -> 85 (+18)
  flops: 112*batch -> 144*batch

weights
  2 kept, 0.00 MB
  2 of another shape, 0.00 MB
  ~ exit.weight [3 8] became [5 8]
  ~ exit.bias [3] became [5]"""


def test_as_data_it_is_complete() -> None:
    found = diff("recipes/digits.yaml", ["slots/ffn=swiglu"])
    made = json.loads(json.dumps(data(found)))
    assert made["version"] == 1
    assert not made["same"]
    assert made["nodes"][0]["aspects"] == [{"name": "kind", "before": "mlp", "after": "swiglu"}]
    assert made["weights"]["kept"] == 55
    assert len(made["weights"]["dropped"]) == 8
    assert made["size"]["after"]["parameters"] - made["size"]["before"]["parameters"] == 64256


def test_weights_are_listed_with_like_copies_together() -> None:
    assert list(listed(diff("recipes/digits.yaml", ["slots/ffn=swiglu"]))) == [
        "~ encoder.*.think.up.weight mlp became swiglu",
        "~ encoder.*.think.down.weight mlp became swiglu",
        "+ encoder.*.think.gate.weight [256 64]",
        "- encoder.*.think.up.bias [256]",
        "- encoder.*.think.down.bias [64]",
    ]


@pytest.mark.parametrize("said", ["a|b", "`x`", "``", "<script>", "a\nb", "\u202eb", " ", "]]>", "| --- |"])
def test_markdown_holds_what_a_recipe_says_in_code_spans(said: str) -> None:
    shown = _code(said)
    fence = shown[: len(shown) - len(shown.lstrip("`"))]
    assert shown.endswith(fence)
    assert fence not in shown[len(fence) : -len(fence)]
    assert "\n" not in shown
    assert "\u202e" not in shown
    assert "|" not in shown.replace("\\|", "")
    found = diff({**plain(TEXT), "name": said}, plain(TEXT.replace("out: 3", "out: 5")))
    assert all(line.count("|") in (0, 4, 6) for line in markdown(found) if line.startswith("|"))


def test_many_aspects_of_a_node_are_counted() -> None:
    node = Node("changed", "a", "linear", 1, aspects=tuple(Aspect(f"o{i}", "1", "2") for i in range(MAX_ASPECTS + 3)))
    found = diff(plain(TEXT), plain(TEXT))._replace(nodes=(node,))
    assert "      and 3 more" in list(text(found))


# --- the command ---
@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    source = Path("recipes").resolve()
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(TEXT)
    Path("other.yaml").write_text(TEXT.replace("out: 3", "out: 5"))
    Path("bad.yaml").write_text(TEXT.replace("kind: activation", "kind: activatio"))
    shutil.copy(source / "digits.yaml", "digits.yaml")
    shutil.copytree(source / "slots", "slots")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["small.yaml", "small.yaml"], 0),
        (["small.yaml", "other.yaml"], 0),
        (["--exit-code", "small.yaml", "other.yaml"], 1),
        (["--exit-code", "small.yaml", "small.yaml"], 0),
        (["--exit-code", "small.yaml", "other.yaml", "nodes.head.out=3"], 0),
        (["--exit-code", "small.yaml", "vars.width=8"], 0),
        (["--exit-code", "digits.yaml", "slots/ffn=swiglu"], 1),
        (["small.yaml", "bad.yaml"], 1),
        (["bad.yaml", "small.yaml"], 1),
        (["small.yaml", "vars.nobody=3"], 1),
        (["small.yaml", "nothing.yaml"], 2),
        (["small.yaml", "slots"], 2),
        (["small.yaml"], 2),
        (["small.yaml", "other.yaml", "digits.yaml"], 2),
        (["--format", "xml", "small.yaml", "other.yaml"], 2),
        ([], 2),
    ],
)
def test_exit_codes(here: Path, words: list[str], code: int) -> None:
    assert cli.main(["diff", *words]) == code


@pytest.mark.parametrize("form", ["text", "json", "markdown"])
def test_each_format_is_printed(here: Path, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["diff", "--format", form, "--weights", "digits.yaml", "slots/ffn=swiglu"]) == 0
    out = capsys.readouterr().out
    assert "swiglu" in out
    assert (json.loads(out)["version"] == 1) if form == "json" else ("encoder.*.think.gate.weight [256 64]" in out)


def test_a_diff_imports_no_torch() -> None:
    import subprocess
    import sys

    words = "import sys; from assembler import cli; cli.main(['diff', 'recipes/digits.yaml', 'slots/ffn=swiglu']); cli.main(['lock', '--help']); assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", words], capture_output=True, check=False).returncode == 0
