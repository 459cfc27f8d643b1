"""`assembler.swap`: one slot of a built model gets another part; everything else stays the object that it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import assembler
from assembler.assemble import RecipeError, origin
from tests.weights.swapping import X, again, built, recipe

torch.set_num_threads(1)

# --- in place ---
def test_the_model_stays_the_object_and_what_survives_stays_the_parameter() -> None:
    model = built()
    attend, head = model.enc[0].attend, model.head.weight  # type: ignore[index, union-attr]
    model.head.weight.requires_grad_(False)  # type: ignore[union-attr, operator]
    model.enc[1].eval()  # type: ignore[index, union-attr]
    seen: list[str] = []
    attend.register_forward_hook(lambda *_: seen.append("attend"))  # type: ignore[union-attr, operator]
    model.register_forward_hook(lambda *_: seen.append("model"))
    done = assembler.swap(model, "ffn", {"kind": "swiglu", "hidden": 4})
    model(X)
    assert done.model is model
    assert model.enc[0].attend is attend  # type: ignore[index, union-attr]
    assert model.head.weight is head  # type: ignore[union-attr]
    assert not head.requires_grad  # type: ignore[union-attr]
    assert seen == ["attend", "model"]
    assert [model.enc[i].think.training for i in (0, 1)] == [True, False]  # type: ignore[index, union-attr]
    assert torch.equal(model(X), again(model)(X))


def test_the_part_keeps_the_weights_that_it_had_where_only_a_setting_changes() -> None:
    model = built()
    up = model.enc[0].think.up  # type: ignore[index, union-attr]
    before = model(X)
    done = assembler.swap(model, "ffn", ["+slots.ffn.activation=relu"])
    assert not done.survey.new
    assert not done.survey.dropped
    assert model.enc[0].think.up is up  # type: ignore[index, union-attr]
    assert not torch.equal(model(X), before)
    done.undo()
    assert torch.equal(model(X), before)


def test_a_weight_whose_shape_changes_is_said_so() -> None:
    done = assembler.swap(built(), "ffn", "slots.ffn.hidden=4")
    assert {item.after.key: item.why for item in done.survey.changed if "enc.0" in item.after.key} == {
        "enc.0.think.up.weight": "[6 8] became [4 8]",
        "enc.0.think.up.bias": "[6] became [4]",
        "enc.0.think.down.weight": "[8 6] became [8 4]",
    }
    assert "enc.0.think.down.bias" in {item.key for item, _ in done.survey.kept}


def test_a_part_that_is_no_recipe_is_a_finding_and_no_python_error() -> None:
    deep: dict[str, Any] = {"kind": "mlp"}
    for _ in range(5000):
        deep = {"kind": "mlp", "hidden": deep}
    for part, code in ((deep, "limit-depth"), ({"kind": "mlp", "hidden": object()}, "value-type"), ({"kind": "mlp", "hiden": 3}, "unknown-option")):
        with pytest.raises(RecipeError, match=code):
            assembler.swap(built(), "ffn", part)


def test_it_says_in_a_few_lines_what_it_did() -> None:
    assert str(assembler.swap(built(), "ffn", {"kind": "low_rank", "rank": 2})).split("\n") == [
        "slot `ffn` at enc.*.think has another part",
        "  kept         26 weights             667 numbers",
        "  changed       4 weights              64 numbers",
        "  dropped       4 weights              28 numbers",
        "  enc.*.think.up.weight: mlp became low_rank  x2",
        "  enc.*.think.down.weight: mlp became low_rank  x2",
    ]


def test_new_parts_start_as_build_starts_them() -> None:
    model = built()
    assembler.swap(model, "ffn", {"kind": "swiglu", "init": {"write": "zero"}}, seed=0)
    wanted = built(recipe({"kind": "swiglu", "init": {"write": "zero"}})).state_dict()
    assert all(torch.equal(wanted[key], value) for key, value in model.state_dict().items())


def test_without_a_seed_one_is_drawn_and_torchs_own_state_is_as_after_one_draw() -> None:
    model = built()
    torch.manual_seed(7)
    assembler.swap(model, "ffn", {"kind": "swiglu"})
    after = torch.rand(1)
    torch.manual_seed(7)
    torch.randint(2**63 - 1, ())
    assert torch.equal(after, torch.rand(1))


def test_a_new_part_that_copies_values_takes_them_as_build_does() -> None:
    spec = recipe({"kind": "linear"})
    spec["nodes"]["lead"] = {"kind": "linear", "out": 8, "from": "x"}
    spec["nodes"]["enc"]["from"] = "lead"
    model = built(spec)
    part = {"kind": "linear", "init": {"copy": "lead"}, "bias": True}
    with torch.no_grad():
        model.lead.weight.zero_()  # type: ignore[union-attr, operator]
    assembler.swap(model, "ffn", {"kind": "mlp", "hidden": 3}, seed=0)
    assembler.swap(model, "ffn", part, seed=0)
    spec["slots"]["ffn"] = part
    assert torch.equal(model.enc[0].think.weight, built(spec).enc[0].think.weight)  # type: ignore[index, union-attr, arg-type]


# --- training goes on ---
def test_an_optimizer_is_told_what_left_and_what_came() -> None:
    model = built()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    done = assembler.swap(model, "ffn", {"kind": "low_rank", "rank": 2})
    stale = done.stale(optimizer)
    assert {row.key for row in stale.gone} == {f"enc.{i}.think.{name}" for i in (0, 1) for name in ("up.weight", "up.bias", "down.weight", "down.bias")}
    assert {row.key for row in stale.missing} == {f"enc.{i}.think.{name}.weight" for i in (0, 1) for name in ("up", "down")}
    assert str(stale).split("\n") == [
        "no longer in the model  enc.*.think.up.weight    [6 8]  x2",
        "no longer in the model  enc.*.think.up.bias      [6]  x2",
        "no longer in the model  enc.*.think.down.weight  [8 6]  x2",
        "no longer in the model  enc.*.think.down.bias    [8]  x2",
        "not in the optimizer    enc.*.think.down.weight  [2 8]  x2",
        "not in the optimizer    enc.*.think.up.weight    [8 2]  x2",
    ]
    optimizer.add_param_group({"params": [*stale.lacking]})
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model(X).square().sum().backward()
    optimizer.step()
    assert all(not torch.equal(before[key], value) for key, value in model.state_dict().items() if "k.bias" not in key)
    assert not done.stale(optimizer).missing
    done.undo()
    assert {row.key for row in done.stale(optimizer).gone} == {row.key for row in stale.missing}


def test_undo_gives_back_trained_values_and_the_latest_swap_comes_first() -> None:
    model = built()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    before = model(X)
    one = assembler.swap(model, "ffn", {"kind": "swiglu"})
    middle = model(X)
    two = assembler.swap(model, "ffn", {"kind": "identity"})
    with pytest.raises(RuntimeError, match="undo the latest first"):
        one.undo()
    two.undo()
    assert torch.equal(model(X), middle)
    one.undo()
    assert torch.equal(model(X), before)
    with pytest.raises(RuntimeError, match="undone already"):
        one.undo()
    assert origin(model) == one.before


def test_undo_follows_a_model_that_was_cast_and_set_to_eval_meanwhile() -> None:
    model = built(recipe({"kind": "mlp", "hidden": 6, "dropout": 0.5}))
    done = assembler.swap(model, "ffn", {"kind": "swiglu"})
    model.double().eval()
    done.undo()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}
    assert not any(module.training for module in model.modules())
    assert torch.equal(model(X.double()), model(X.double()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_new_parts_have_the_dtype_of_the_model(dtype: torch.dtype) -> None:
    model = built(dtype=dtype)
    assembler.swap(model, "ffn", {"kind": "swiglu"}, seed=0)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    wanted = built(recipe({"kind": "swiglu"}), dtype=dtype)
    assert torch.equal(model(X.to(dtype)), wanted(X.to(dtype)))


def test_a_model_without_values_stays_without() -> None:
    model = built(device="meta")
    assembler.swap(model, "ffn", {"kind": "swiglu"})
    assert all(parameter.is_meta for parameter in model.parameters())
    assembler.initialize(model, 0)
    assert torch.equal(model(X), built(recipe({"kind": "swiglu"}))(X))


# --- what does not fit ---
def test_a_part_that_does_not_fit_leaves_the_model_as_it_was() -> None:
    model = built(recipe({"kind": "mlp", "accepts": {"out": {"y": "[... seq 8]"}}}))
    before, cls, objects = model(X), type(model), list(model.modules())
    for part, code in (({"kind": "linear", "out": 3}, "slot-mismatch"), ({"kind": "attention"}, "missing-key"), ({"kind": "lniear"}, "unknown-kind")):
        with pytest.raises(RecipeError) as raised:
            assembler.swap(model, "ffn", part)
        assert code in [item.code for item in raised.value.report.diagnostics]
    assert type(model) is cls
    assert list(model.modules()) == objects
    assert torch.equal(model(X), before)


@pytest.mark.parametrize("after", [0, 3, 20])
def test_what_breaks_off_midway_leaves_the_model_as_it_was(after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device may be full, a user may interrupt."""
    from assembler.weights.move import Mover

    model, calls = built(), iter(range(1000))
    before, cls, objects = model(X), type(model), list(model.modules())
    tensor = Mover.tensor

    def full(self: Mover, *words: Any) -> Any:
        if next(calls) == after:
            raise torch.OutOfMemoryError("no room")
        return tensor(self, *words)

    monkeypatch.setattr(Mover, "tensor", full)
    with pytest.raises(torch.OutOfMemoryError):
        assembler.swap(model, "ffn", {"kind": "swiglu"})
    assert type(model) is cls
    assert list(model.modules()) == objects
    assert torch.equal(model(X), before)


def test_a_part_that_would_change_weights_elsewhere_is_refused() -> None:
    spec = {
        "inputs": {"x": "[batch 8]"}, "slots": {"body": {"kind": "linear", "out": 6}},
        "nodes": {"mid": {"slot": "body", "from": "x"}, "head": {"kind": "linear", "out": 3, "from": "mid"}}, "outputs": {"y": "head"},
    }  # fmt: skip
    with pytest.raises(RecipeError) as raised:
        assembler.swap(built(spec), "body", {"kind": "linear", "out": 5})
    (item,) = raised.value.report.diagnostics
    assert item.message == "what fills the slot `body` changes `head.weight`, which is not in the slot: [3 6] became [3 5]"


def test_an_adapter_that_the_part_needs_comes_and_goes_with_it() -> None:
    model = built()

    def wide(count: int) -> dict[str, Any]:
        return {"kind": "parallel", "join": "concat", "parts": {f"p{i}": {"kind": "identity"} for i in range(count)}}

    done = assembler.swap(model, "ffn", wide(2), seed=0)
    assert {item.key for item in done.survey.new} >= {"enc.0.think_y_adapter.weight"}
    assert "adapter-inserted" in [item.code for item in done.report.diagnostics]
    wider = assembler.swap(model, "ffn", wide(3), seed=0)
    assert {item.after.key for item in wider.survey.changed} >= {"enc.0.think_y_adapter.weight"}
    assert torch.equal(model(X), again(model)(X))


@pytest.mark.parametrize(
    ("slot", "part", "says"),
    [
        ("fnf", "mlp", "there is no slot `fnf`: did you mean `ffn`? the slots are `ffn`"),
        ("ffn", "swigul", "files of `slots/ffn` beside the recipe and among the shipped ones: did you mean `swiglu`?"),
    ],
)
def test_a_name_that_nothing_has_lists_what_there_is(slot: str, part: str, says: str) -> None:
    with pytest.raises(LookupError) as raised:
        assembler.swap(built(), slot, part)
    assert says in str(raised.value)


def test_an_override_about_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match="is not about the slot"):
        assembler.swap(built(), "ffn", ["slots.ffn.hidden=3", "nodes.head.out=4"])


# --- where slots are ---
def nested() -> dict[str, Any]:
    inner = {
        "kind": "graph", "inputs": {"h": "[batch seq 8]"}, "slots": {"ffn": {"kind": "mlp", "hidden": 3}},
        "nodes": {"think": {"slot": "ffn", "from": "h"}}, "outputs": {"y": "think"},
    }  # fmt: skip
    nodes = {"one": {**inner, "from": "x"}, "two": {**inner, "from": "one"}, "three": {"slot": "ffn", "from": "two"}}
    return {"inputs": {"x": "[batch seq 8]"}, "slots": {"ffn": {"kind": "linear", "out": 8}}, "nodes": nodes, "outputs": {"y": "three"}}


def test_a_slot_of_a_graph_inside_has_the_graphs_address() -> None:
    model = built(nested())
    done = assembler.swap(model, "two.ffn", {"kind": "swiglu"})
    assert {item.node for item in done.survey.new} == {"two.think"}
    assert {item.node for item in done.survey.dropped} == {"two.think"}
    done = assembler.swap(model, "ffn", {"kind": "identity"})
    assert {item.node for item in done.survey.dropped} == {"three"}
    assert torch.equal(model(X), again(model)(X))


def test_a_name_that_several_slots_have_must_say_which() -> None:
    spec = nested()
    spec["nodes"]["three"] = {"kind": "identity", "from": "two"}
    del spec["slots"]
    with pytest.raises(LookupError, match=r"several slots are called `ffn`: say which: `one\.ffn`, `two\.ffn`"):
        assembler.swap(built(spec), "ffn", "mlp")


def test_a_slot_inside_a_filler_and_one_of_a_graph_of_the_same_name_are_told_apart() -> None:
    spec = nested()
    inner = {key: value for key, value in spec["nodes"].pop("two").items() if key != "from"}
    spec["slots"] = {"one": inner}
    spec["nodes"]["three"] = {"slot": "one", "from": "one"}
    model = built(spec)
    assert {item.node for item in assembler.swap(model, "slots.one.slots.ffn", {"kind": "swiglu"}).survey.new} == {"three.think"}
    assert {item.node for item in assembler.swap(model, "nodes.one.slots.ffn", {"kind": "swiglu"}).survey.new} == {"one.think"}


def test_every_place_that_uses_the_slot_changes_also_by_rule_and_by_like() -> None:
    spec = recipe(rules={"first": {"at": "enc.0.think", "set": {"slot": "other"}}})
    spec["slots"]["other"] = {"kind": "linear"}
    spec["nodes"]["tail"] = {"like": "enc.-1.think", "from": "enc"}
    spec["nodes"]["head"]["from"] = "tail"
    model = built(spec)
    done = assembler.swap(model, "ffn", {"kind": "swiglu"})
    assert {item.node for item in done.survey.new} == {"enc.1.think", "tail"}
    done = assembler.swap(model, "other", {"kind": "low_rank", "rank": 2})
    assert {item.node for item in done.survey.new} == {"enc.0.think"}
    assert torch.equal(model(X), again(model)(X))


def test_a_tied_parameter_and_a_module_with_two_names_stay_shared() -> None:
    spec = {
        "inputs": {"ids": "ids(11) [batch seq]"}, "slots": {"ffn": {"kind": "mlp"}},
        "nodes": {
            "embed": {"kind": "embedding", "out": 8, "from": "ids"}, "think": {"slot": "ffn", "from": "embed"},
            "more": {"same": "think", "from": "think"}, "head": {"kind": "linear", "out": 11, "bias": False, "tie": {"weight": "embed.weight"}, "from": "more"},
        },
        "outputs": {"y": "head"},
    }  # fmt: skip
    model = built(spec)
    assembler.swap(model, "ffn", {"kind": "swiglu"}, seed=0)
    assert model.more is model.think
    assert model.head.weight is model.embed.weight  # type: ignore[union-attr]
    ids = torch.arange(10).reshape(2, 5)
    assert torch.equal(model(ids), again(model)(ids))


