"""`norm` on nodes, parts, buses and copies, and `norm_kind`: which nodes stand where, and who feeds them."""

from __future__ import annotations

import pytest

from tests.graph.recipes import bad, good, kinds, names, rows, wires

X = 'inputs: {x: "[batch seq 8]"}\n'


def node(text: str) -> str:
    return X + f"nodes: {{a: {text}}}\noutputs: {{y: a}}\n"


def test_pre_stands_before_f_and_out_behind() -> None:
    report = good(node("{kind: mlp, norm: both, from: x}"))
    assert wires(report) == {"a_pre_norm": {"x": [".x"]}, "a": {"x": ["a_pre_norm.y"]}, "a_out_norm": {"x": ["a.y"]}}
    assert report.graph is not None
    assert report.graph.scope.outputs["y"] == ("a_out_norm", "y")


def test_pre_norms_the_stream_only_not_other_inputs() -> None:
    report = good(X.replace("}", ', m: "[batch mem 8]"}') + "nodes: {a: {kind: cross_attention, heads: 2, norm: pre, from: {x: x, memory: m}}}\noutputs: {y: a}\n")
    assert wires(report)["a"] == {"x": ["a_pre_norm.y"], "memory": [".m"]}


@pytest.mark.parametrize("norm", ["pre", "out", "both", "post"])
def test_a_bus_norm_is_the_default_of_its_parts(norm: str) -> None:
    report = good(node(f"{{kind: bus, norm: {norm}, from: x, parts: {{p: {{kind: mlp}}}}}}"))
    made = {"pre": {"p_pre_norm"}, "out": {"p_out_norm"}, "both": {"p_pre_norm", "p_out_norm"}, "post": {"p_post_norm"}}[norm]
    wired = wires(report, "a")
    assert set(wired) == {"p", "p_add", *made}
    stream = {"pre": "p.y", "out": "p_out_norm.y", "both": "p_out_norm.y", "post": "p.y"}[norm]
    assert wired["p_add"] == {"x": [".x", stream]}
    if norm == "post":
        assert wired["p_post_norm"] == {"x": ["p_add.y"]}


def test_a_part_has_the_last_word_over_its_bus() -> None:
    report = good(node("{kind: bus, norm: pre, from: x, parts: {p: {kind: mlp, norm: out}, q: {kind: mlp, norm: null}}}"))
    assert set(wires(report, "a")) == {"p", "p_add", "p_out_norm", "q", "q_add"}


def test_a_bus_norm_does_not_reach_parts_of_its_parts() -> None:
    report = good(node("{kind: bus, norm: pre, from: x, parts: {p: {kind: sequence, parts: {i: {kind: mlp}}}}}"))
    assert names(report) == ["a", "a.p_pre_norm", "a.p", "a.p.i", "a.p_add"]


@pytest.mark.parametrize("place", ["a", "top", "part"])
def test_norm_kind_is_inherited_up_to_the_recipe(place: str) -> None:
    text = X + f"""nodes:
  a:
    kind: bus
    norm: pre
    {'norm_kind: rms_norm' if place == 'a' else 'from: x'}
    {'from: x' if place == 'a' else ''}
    parts: {{p: {{kind: mlp{', norm_kind: rms_norm' if place == 'part' else ''}}}}}
outputs: {{y: a}}
"""
    report = good(("norm_kind: rms_norm\n" if place == "top" else "") + text)
    assert kinds(report)["a.p_pre_norm"] == "rms_norm"


def test_norm_kind_with_options() -> None:
    report = good(node("{kind: mlp, norm: pre, norm_kind: {kind: rms_norm, eps: 1e-6}, from: x}"))
    assert rows(report)[0].node.options.eps == 1e-6  # type: ignore[union-attr]


def test_post_is_for_a_part_of_a_bus_only() -> None:
    bad(X + "nodes:\n  a: {kind: mlp, norm: post, from: x}  #~ norm-place\noutputs: {y: a}\n")
    bad(X + "nodes:\n  a: {kind: sequence, from: x, parts: {p: {kind: mlp, norm: post}}}  #~ norm-place\noutputs: {y: a}\n")


def test_unknown_norms() -> None:
    bad(X + "nodes:\n  a: {kind: mlp, norm: before, from: x}  #~ value-range\noutputs: {y: a}\n")
    bad(X + "nodes:\n  a: {kind: mlp, norm: pre, norm_kind: layernorm, from: x}  #~ unknown-kind\noutputs: {y: a}\n")


@pytest.mark.parametrize(("inner", "held"), [("kind: mlp", ["a"]), ("kind: sequence, parts: {p: {kind: mlp}}", ["p"])])
def test_every_copy_has_its_own_norms(inner: str, held: list[str]) -> None:
    """The copies of a container once had one norm before the first and one behind the last."""
    report = good(node(f"{{{inner}, repeat: 3, norm: both, from: x}}"))
    assert set(names(report)) == {"a", "a.*", "a.*.a_pre_norm", "a.*.a_out_norm", *(f"a.*.{name}" for name in held)}
    wired = wires(report, "a.*")
    assert wired["a_pre_norm"] == {"x": [".x"]}
    assert wired[held[0]] == {"x": ["a_pre_norm.y"]}
    assert wired["a_out_norm"] == {"x": [f"{held[0]}.y"]}


def test_a_name_that_is_taken_is_left_alone() -> None:
    report = good(X + "nodes: {a: {kind: mlp, norm: pre, from: x}, a_pre_norm: {kind: mlp, from: a}}\noutputs: {y: a_pre_norm}\n")
    assert names(report) == ["a_pre_norm_", "a", "a_pre_norm"]


@pytest.mark.parametrize("norm", ["pre", "both"])
def test_no_norm_before_a_join(norm: str) -> None:
    """It once took the first of the joined values, and the others were dropped."""
    found = bad(X.replace("}", ', z: "[batch seq 8]"}') + f"nodes:\n  a: {{kind: add, norm: {norm}, from: [x, z]}}  #~ norm-place\noutputs: {{y: a}}\n")
    assert found.help == "write `norm: out`, or give each of them a norm of its own"


def test_a_norm_behind_a_join() -> None:
    report = good(X.replace("}", ', z: "[batch seq 8]"}') + "nodes: {a: {kind: add, norm: out, from: [x, z]}}\noutputs: {y: a}\n")
    assert wires(report) == {"a": {"x": [".x", ".z"]}, "a_out_norm": {"x": ["a.y"]}}


S = "slots: {s: {kind: mlp}}\n"


@pytest.mark.parametrize(
    "container",
    ["kind: sequence, parts: {p: {kind: mlp}}", "kind: parallel, join: concat, parts: {p: {kind: mlp}, q: {kind: mlp}}", "slot: s",
     'kind: graph, inputs: {h: "[... d]"}, nodes: {t: {kind: mlp, from: h}}, outputs: {o: t}', "kind: mlp, in: 8"],
)  # fmt: skip
def test_norms_stand_at_the_borders_of_whatever_a_node_is(container: str) -> None:
    report = good((S if "slot" in container else "") + node(f"{{{container}, norm: both, from: x}}"))
    wired = wires(report)
    assert set(wired) == {"a_pre_norm", "a", "a_out_norm"}
    assert wired["a_pre_norm"] == {"x": [".x"]}
    assert list(wired["a"].values()) == [["a_pre_norm.y"]]
    assert wired["a_out_norm"]["x"][0].startswith("a.")


def test_a_slot_s_filler_may_bring_its_norm() -> None:
    report = good("slots: {s: {kind: mlp, norm: pre}}\n" + node("{slot: s, from: x}"))
    assert wires(report) == {"a_pre_norm": {"x": [".x"]}, "a": {"x": ["a_pre_norm.y"]}}


def test_each_use_of_one_module_has_norms_of_its_own() -> None:
    report = good(X + "nodes: {a: {kind: mlp, norm: pre, from: x}, b: {same: a, norm: out, from: a}}\noutputs: {y: b}\n")
    assert wires(report) == {"a_pre_norm": {"x": [".x"]}, "a": {"x": ["a_pre_norm.y"]}, "b": {"x": ["a.y"]}, "b_out_norm": {"x": ["b.y"]}}


def test_a_norm_stands_behind_the_adapter_of_its_edge() -> None:
    report = good('inputs: {x: "[batch seq 6]"}\nnodes: {a: {kind: mlp, in: 8, norm: pre, from: {port: x, adapt: linear}}}\noutputs: {y: a}\n')
    assert wires(report) == {"a_x_adapter": {"x": [".x"]}, "a_pre_norm": {"x": ["a_x_adapter.y"]}, "a": {"x": ["a_pre_norm.y"]}}


def test_a_post_norm_of_copies_stands_once_behind_their_add() -> None:
    report = good(node("{kind: bus, norm: post, from: x, parts: {p: {kind: mlp, repeat: 2}}}"))
    assert wires(report, "a") == {"p": {"x": [".x"]}, "p_add": {"x": [".x", "p.y"]}, "p_post_norm": {"x": ["p_add.y"]}}
