"""`assembler.swap`: what may be a part, and models that were copied, compiled, changed by hand or brought from elsewhere."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import nn

import assembler
from assembler.assemble import RecipeError, origin
from assembler.weights.swap import Swap
from tests.weights.swapping import X, again, built, recipe

torch.set_num_threads(1)

# --- parts ---
def test_a_file_of_the_group_a_path_and_a_dictconfig_are_parts(tmp_path: Any) -> None:
    from omegaconf import OmegaConf

    (tmp_path / "slots" / "ffn").mkdir(parents=True)
    (tmp_path / "slots" / "ffn" / "mine.yaml").write_text("kind: low_rank\nrank: 3\n")
    (tmp_path / "two.yaml").write_text('inputs: {x: "[... 8]"}\nnodes: {a: {kind: linear, out: 4, from: x}, b: {kind: linear, out: 8, from: a}}\noutputs: {y: b}\n')
    (tmp_path / "m.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(recipe())))
    model = assembler.build(assembler.load(tmp_path / "m.yaml"), seed=0)
    assembler.swap(model, "ffn", "mine")
    assert tuple(model.enc[0].think.down.weight.shape) == (3, 8)  # type: ignore[index, union-attr]
    assembler.swap(model, "ffn", tmp_path / "two.yaml")
    assert tuple(model.enc[0].think.a.weight.shape) == (4, 8)  # type: ignore[index, union-attr]
    assembler.swap(model, "ffn", OmegaConf.create({"h": 5, "part": {"kind": "mlp", "hidden": "${h}"}}).part)
    assert tuple(model.enc[0].think.up.weight.shape) == (5, 8)  # type: ignore[index, union-attr]
    assembler.swap(model, "ffn", ["slots/ffn=mine", "slots.ffn.rank=2"])
    assert tuple(model.enc[0].think.down.weight.shape) == (2, 8)  # type: ignore[index, union-attr]
    with pytest.raises(RecipeError, match="file-not-found"):
        assembler.swap(model, "ffn", tmp_path / "nowhere.yaml")


# --- models from elsewhere ---
def test_a_copy_is_swapped_alone() -> None:
    model = built()
    other = copy.deepcopy(model)
    before = model(X)
    assembler.swap(other, "ffn", {"kind": "identity"})
    assert torch.equal(model(X), before)
    assert not torch.equal(other(X), before)


def test_two_recipes_of_one_text_are_told_apart_by_the_model() -> None:
    """The class is one, so the later recipe once stood for both."""
    plain = recipe()
    plain["nodes"]["enc"]["parts"]["think"] = plain["slots"].pop("ffn")
    slotted, other = built(), built(plain)
    assert type(slotted) is type(other)
    assembler.swap(slotted, "ffn", {"kind": "identity"})


def test_a_model_of_another_process_says_what_it_was_built_from(tmp_path: Any) -> None:
    spec = recipe({"kind": "mlp", "hidden": 7})
    text = assembler.eject(spec)
    scope: dict[str, Any] = {"__name__": "ejected"}
    exec(compile(text, "ejected", "exec"), scope)
    model = scope["Model"](seed=0)
    with pytest.raises(ValueError, match="hand over `recipe=`"):
        assembler.swap(model, "ffn", {"kind": "identity"})
    with pytest.raises(ValueError, match=r"`enc.0.think.up.weight` of the model is \[7, 8\], and its recipe says \[6, 8\]"):
        assembler.swap(model, "ffn", {"kind": "identity"}, recipe=recipe())
    assembler.swap(model, "ffn", {"kind": "swiglu"}, recipe=spec, seed=0)
    assert torch.equal(model(X), built(recipe({"kind": "swiglu"}))(X))
    assert torch.equal(pickle.loads(pickle.dumps(built(spec)))(X), built(spec)(X))
    with pytest.raises(ValueError, match="hand over `recipe=`"):
        assembler.swap(nn.Linear(2, 2), "ffn", {"kind": "identity"})
    with pytest.raises(ValueError, match="the model` is a Linear, and its recipe makes a Model"):
        assembler.swap(nn.Linear(2, 2), "ffn", {"kind": "identity"}, recipe=recipe())


def test_a_module_that_was_parametrized_by_hand_is_left_alone_unless_it_would_have_to_change() -> None:
    model = built()
    nn.utils.parametrizations.weight_norm(model.head)  # type: ignore[arg-type]
    before = type(model.head)
    done = assembler.swap(model, "ffn", {"kind": "swiglu"})
    assert type(model.head) is before
    assert done.model(X).shape == (2, 5, 3)
    done.undo()
    nn.utils.parametrizations.weight_norm(model.enc[0].think.up)  # type: ignore[index, union-attr, arg-type]
    with pytest.raises(ValueError, match=r"`enc.0.think.up` is a ParametrizedLinear, and its recipe makes a Linear"):
        assembler.swap(model, "ffn", {"kind": "swiglu"})


def test_a_module_that_was_added_by_hand_stays() -> None:
    model = built()
    model.probe = nn.Linear(3, 1)
    assembler.swap(model, "ffn", {"kind": "swiglu"})
    assert model.probe(model(X)).shape == (2, 5, 1)


@torch.no_grad()
@pytest.mark.parametrize("how", ["method", "wrapper", "blocks"])
def test_a_compiled_model_compiles_anew(how: str) -> None:
    torch._dynamo.reset()
    model = built()
    options: dict[str, Any] = {"backend": "eager", "fullgraph": True}
    compiled: Any = model
    if how == "method":
        model.compile(**options)
    elif how == "wrapper":
        compiled = torch.compile(model, **options)
    else:
        assembler.compile_blocks(model, **options)
    before = compiled(X)
    done: Swap = assembler.swap(compiled, "ffn", {"kind": "swiglu"})
    assert done.model is model
    assert torch.equal(compiled(X), again(model)(X))
    done.undo()
    assert torch.equal(compiled(X), before)
    assembler.swap(compiled, "ffn", ["+slots.ffn.activation=relu"])
    assert torch.equal(compiled(X), again(model)(X))


def test_a_swapped_model_copies_pickles_saves_and_ejects_as_any_other(tmp_path: Any) -> None:
    model = built()
    assembler.swap(model, "ffn", {"kind": "swiglu"}, seed=0)
    assert torch.equal(copy.deepcopy(model)(X), model(X))
    assert torch.equal(pickle.loads(pickle.dumps(model))(X), model(X))
    assembler.save(model, tmp_path / "run")
    loaded = assembler.load_model(tmp_path / "run")
    assert torch.equal(loaded(X), model(X))
    assembler.swap(loaded, "ffn", {"kind": "identity"})
    found = origin(model)
    assert found is not None
    scope: dict[str, Any] = {"__name__": "ejected"}
    exec(compile(assembler.eject(found.recipe), "ejected", "exec"), scope)
    other = scope["Model"](seed=0)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(X), model(X))


# --- modules that were handed over ---
class Host(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 8)
        self.register_buffer("table", torch.ones(3), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.first(x)))  # type: ignore[no-any-return]


def hosted(part: dict[str, Any]) -> dict[str, Any]:
    ports = {"in": {"x": "[batch seq 8]"}, "out": {"y": "[batch seq 8]"}}
    return {
        "inputs": {"x": "[batch seq 8]"}, "slots": {"ffn": part, "body": {"kind": "given", "ports": ports, "sites": {"h": "first [batch seq 8]"}, "freeze": True}},
        "nodes": {"host": {"slot": "body", "from": "x"}, "head": {"kind": "linear", "out": 3, "from": "host"}},
        "grafts": {"side": {"write": "host.h", "mode": "add", "part": {"slot": "ffn"}}}, "outputs": {"y": "head"},
    }  # fmt: skip


def test_a_graft_inside_a_foreign_module_is_swapped_and_the_module_stays() -> None:
    host = Host()
    model = built(hosted({"kind": "mlp", "hidden": 6}), given={"host": host})
    host.first.weight.requires_grad_(True)
    before, values, hooks = model(X), copied_state(host), [list(item._forward_hooks) for item in host.modules()]
    done = assembler.swap(model, "ffn", {"kind": "swiglu", "hidden": 5}, seed=0)
    wanted = built(hosted({"kind": "swiglu", "hidden": 5}), given={"host": twin_of(host)})
    assert torch.equal(model(X), wanted(X))
    assert model.host is host
    assert host.first.weight.requires_grad
    assert [list(item._forward_hooks) for item in host.modules()] == hooks
    assert all(torch.equal(values[key], value) for key, value in host.state_dict().items())
    done.undo()
    assert torch.equal(model(X), before)


def test_a_foreign_module_cannot_be_swapped_in() -> None:
    spec = hosted({"kind": "mlp"})
    filler = spec["slots"].pop("body")
    spec["slots"]["body"] = {"kind": "linear", "out": 8}
    spec["grafts"] = {"side": {"write": "host", "mode": "add", "part": {"slot": "ffn"}}}
    with pytest.raises(ValueError, match="a swap hands none over"):
        assembler.swap(built(spec), "body", filler)


def copied_state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


def twin_of(host: Host) -> Host:
    other = Host()
    other.load_state_dict(host.state_dict())
    return other
