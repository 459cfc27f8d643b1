"""`@assembler.kind`: what it reads off a class, and what a recipe can then do with it."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

import assembler
from assembler.library import registry
from assembler.plugins.ports import read_ports
from assembler.plugins.use import use
from assembler_schemas.kind import Parameter, Port, Require, step

torch.set_num_threads(1)
Package = Callable[..., Path]


def recipe(**node: Any) -> dict[str, Any]:
    return {"inputs": {"x": "[batch 16]"}, "nodes": {"part": {"kind": "running_gate", "from": "x", **node}}, "outputs": {"y": "part"}}


# --- the line of ports ---
def test_a_line_of_ports_names_types_and_what_is_special_of_each() -> None:
    found = read_ports("x: [... seq d], ids: ids(vocab) [... seq], mask: optional mask [... seq] -> y: [... seq 2*d], cost: loss scalar []")
    assert found.inputs == {"x": Port("[... seq d]"), "ids": Port("ids(vocab) [... seq]"), "mask": Port("mask [... seq]", optional=True)}
    assert found.outputs == {"y": Port("[... seq 2*d]"), "cost": Port("scalar []", loss=True)}
    assert found.names == {"seq", "d", "vocab"}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("x: [... in]", "one arrow"),
        ("x: [... in] -> y: [... out] -> z: [... out]", "one arrow"),
        ("x: [... in] ->", "something comes out"),
        ("[... in] -> y: [... out]", "no `name: type`"),
        ("X: [... in] -> y: [... out]", "no `name: type`"),
        ("in: [... in] -> y: [... out]", "no `name: type`"),
        ("x: [... in], x: [... in] -> y: [... out]", "a name stands twice"),
        ("x: [... in] -> x: [... out]", "an input and an output"),
        ("x: [... in -> y: [... out]", "the type of `x`"),
        ("x: loss scalar [] -> y: [... out]", "the type of `x`"),
    ],
)
def test_a_line_that_is_none_says_why(line: str, why: str) -> None:
    with pytest.raises(ValueError, match="a line of ports reads") as found:
        read_ports(line)
    assert why in str(found.value)


# --- what a class says ---
def test_options_are_the_arguments_of_the_constructor(package: Package) -> None:
    package()
    assert use("acme.kinds") == ["running_gate@1"]
    card = registry.kind("running_gate")
    assert card is not None
    assert card.option_names == ("in", "out", "act", "gain", "bias")
    assert card.size_options == {"in", "out"}
    assert card.summary == "A map behind a squashing function"
    assert card.example == "{kind: running_gate, from: x}"


def test_sizes_that_the_ports_name_are_inferred_and_the_text_spells_what_is_stated(package: Package) -> None:
    package()
    use("acme.kinds")
    assert assembler.check(recipe(act="sigmoid")).ok
    text = assembler.eject(recipe(act="sigmoid"))
    assert 'self.part = RunningGate(16, 16, act="sigmoid")' in text


def test_parameters_of_an_opaque_kind_are_unknown_to_check_and_not_zero(package: Package) -> None:
    package()
    use("acme.kinds")
    assert str(assembler.check(recipe(out=4))).strip() == "model: ok, ? parameters"


@pytest.mark.parametrize(
    ("node", "code"),
    [
        ({"act": "relu"}, "value-range"),
        ({"gain": "much"}, "value-type"),
        ({"bais": True}, "unknown-option"),
        ({"in": 8}, "shape-mismatch"),
    ],
)
def test_options_are_held_against_the_annotations(package: Package, node: dict[str, Any], code: str) -> None:
    package()
    use("acme.kinds")
    found = [item.code for item in assembler.check(recipe(**node)).diagnostics if item.level == "error"]
    assert found == [code]


def test_built_models_run_start_under_seeds_and_are_copied(package: Package) -> None:
    package()
    use("acme.kinds")
    model = assembler.build(recipe(out=4), seed=3)
    x = torch.randn(5, 16)
    again = assembler.build(recipe(out=4), seed=3)
    for other in (again, copy.deepcopy(model), pickle.loads(pickle.dumps(model)), assembler.initialize(assembler.build(recipe(out=4), device="meta"), 3)):
        assert torch.equal(other(x), model(x))
    assert not torch.equal(assembler.build(recipe(out=4), seed=4)(x), model(x))
    assert torch.equal(torch.compile(model, fullgraph=True, backend="eager")(x), model(x))
    found = assembler.verify(model)
    assert found.ok
    assert {row.address: row.predicted for row in found.rows if row.what in ("key", "count")} == {
        "parameters": "at least 0", "trainable": "at least 0", "part.map.weight": "not predicted: no body", "part.map.bias": "not predicted: no body",
    }  # fmt: skip


def test_a_pickle_says_which_plugin_is_missing(package: Package) -> None:
    package()
    use("acme.kinds")
    data = pickle.dumps(assembler.build(recipe()))
    del registry.CLASSES["RunningGate"]
    with pytest.raises(ImportError, match=r"this model uses `RunningGate` of the plugin `acme\.kinds`.*import acme\.kinds first"):
        pickle.loads(data)


def test_a_class_that_is_declared_again_is_the_one_that_is_built() -> None:
    def declared(factor: float) -> type[nn.Module]:
        class Notebook(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return x * factor

        made: type[nn.Module] = assembler.kind("x: [... d] -> y: [... d]")(Notebook)
        return made

    source = {"inputs": {"x": "[batch 4]"}, "nodes": {"part": {"kind": "notebook", "from": "x"}}, "outputs": {"y": "part"}}
    x = torch.randn(2, 4)
    declared(2.0)
    first = assembler.build(source)
    declared(3.0)
    assert torch.equal(assembler.build(source)(x), x * 3.0)
    assert torch.equal(first(x), x * 2.0)


def test_a_second_class_of_a_taken_name_is_refused() -> None:
    @assembler.kind("x: [... d] -> y: [... d]", name="mine")
    class One(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    class Two(One):
        pass

    with pytest.raises(ValueError, match=r"a kind named `mine` exists already \(version 1, declared by `.*One`\)"):
        assembler.kind("x: [... d] -> y: [... d]", name="mine")(Two)
    with pytest.raises(ValueError, match="it is one of this package"):
        assembler.kind("x: [... d] -> y: [... d]", name="linear")(Two)


# --- several ports, losses, demands, a body ---
def test_several_ports_optional_ones_and_losses() -> None:
    @assembler.kind("a: [... d], b: [... d], mask: optional mask [...] -> y: [... d], cost: loss scalar []")
    class Mixing(nn.Module):
        def forward(self, a: Tensor, b: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
            y = a + b if mask is None else torch.where(mask[..., None], a, b)
            return y, (a - b).square().mean()

    source = {
        "inputs": {"a": "[batch 4]", "b": "[batch 4]", "mask": "mask [batch]"},
        "nodes": {"mixed": {"kind": "mixing", "from": {"a": "a", "b": "b", "mask": "mask"}}, "plain": {"kind": "mixing", "from": {"a": "a", "b": "mixed"}}},
        "outputs": {"y": "plain", "cost": "plain.cost"},
    }
    a, b, mask = torch.randn(3, 4), torch.randn(3, 4), torch.tensor([True, False, True])
    found = assembler.build(source)(a=a, b=b, mask=mask)
    mixed = torch.where(mask[:, None], a, b)
    assert torch.equal(found["y"], a + mixed)
    assert torch.equal(found["cost"], (a - mixed).square().mean())


def test_demands_on_sizes_are_checked() -> None:
    @assembler.kind("x: [... in] -> y: [... in]", requires="in % heads == 0")
    class Headed(nn.Module):
        def __init__(self, in_: int, heads: int = 4) -> None:
            super().__init__()

        def forward(self, x: Tensor) -> Tensor:
            return x

    source = {"inputs": {"x": "[batch 16]"}, "nodes": {"part": {"kind": "headed", "heads": 3, "from": "x"}}, "outputs": {"y": "part"}}
    assert [item.code for item in assembler.check(source).diagnostics] == ["shape-constraint"]
    card = registry.kind("headed")
    assert card is not None
    assert card.size_options == {"in", "heads"}
    assert card.define(card.options()).requires == (Require("multiple_of", "in", "heads"),)
    assert assembler.check({**source, "vars": {"n": 4}, "nodes": {"part": {"kind": "headed", "heads": "2*n", "from": "x"}}}).ok


def test_a_stated_body_lets_everything_be_predicted() -> None:
    @assembler.kind(
        "x: [... in] -> y: [... in]",
        parameters={"weight": Parameter(("in",), "zeros", writes=True)},
        body=[step("y", "multiply", "x", "weight")],
    )
    class Damped(nn.Module):
        def __init__(self, in_: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.empty(in_))
            self.reset_parameters()

        def reset_parameters(self) -> None:
            nn.init.zeros_(self.weight)

        def forward(self, x: Tensor) -> Tensor:
            return x * self.weight

    source = {"inputs": {"x": "[batch 16]"}, "nodes": {"part": {"kind": "damped", "from": "x"}}, "outputs": {"y": "part"}}
    assert str(assembler.check(source)).strip() == "model: ok, 16 parameters"
    found = assembler.verify(source)
    assert found.ok
    assert "part.y" in {row.address for row in found.rows if row.what == "zero"}


def test_parameters_may_be_listed_without_their_start() -> None:
    @assembler.kind("x: [... in] -> y: [... out]", parameters=lambda options: {"weight": "out in"} | ({"bias": "out"} if options.bias else {}))
    class Plain(nn.Linear):
        def __init__(self, in_: int, out: int, bias: bool = True) -> None:
            super().__init__(in_, out, bias)

    source = {"inputs": {"x": "[batch 16]"}, "nodes": {"part": {"kind": "plain", "out": 3, "from": "x"}, "head": {"kind": "linear", "out": 2, "from": "part"}}, "outputs": {"y": "head"}}
    assert str(assembler.check(source)).strip() == f"model: ok, {16 * 3 + 3 + 8} parameters"
    found = assembler.verify(source)
    assert found.ok
    assert {row.predicted for row in found.rows if row.what == "start" and row.address.startswith("part")} == {"unknown"}


# --- starting anew ---
def test_a_constructor_that_writes_over_a_start_is_refused_rather_than_undone() -> None:
    @assembler.kind("x: [... in] -> y: [... in]")
    class Silent(nn.Module):
        def __init__(self, in_: int) -> None:
            super().__init__()
            self.out = nn.Linear(in_, in_)
            nn.init.zeros_(self.out.weight)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(x)

    source = {"inputs": {"x": "[batch 4]"}, "nodes": {"part": {"kind": "silent", "from": "x"}}, "outputs": {"y": "part"}}
    with pytest.raises(TypeError, match=r"`Silent` writes over `out\.weight` in its constructor.*`reset_parameters`"):
        assembler.build(source)


def test_what_holds_a_module_starts_after_it() -> None:
    @assembler.kind("x: [... in] -> y: [... in]")
    class Silenced(nn.Module):
        def __init__(self, in_: int) -> None:
            super().__init__()
            self.out = nn.Linear(in_, in_)
            self.reset_parameters()

        def reset_parameters(self) -> None:
            self.out.reset_parameters()
            nn.init.zeros_(self.out.weight)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(x)

    source = {"inputs": {"x": "[batch 4]"}, "nodes": {"part": {"kind": "silenced", "repeat": 2, "from": "x"}}, "outputs": {"y": "part"}}
    for model in (assembler.build(source, seed=0), assembler.initialize(assembler.build(source, device="meta"), 0)):
        assert not any(value.any() for key, value in model.state_dict().items() if key.endswith("weight"))


def test_a_parameter_that_nothing_starts_is_refused() -> None:
    @assembler.kind("x: [... in] -> y: [... in]")
    class Bare(nn.Module):
        def __init__(self, in_: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(in_))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.weight

    with pytest.raises(TypeError, match="`Bare` owns `weight`, and nothing says how it starts"):
        assembler.build({"inputs": {"x": "[batch 4]"}, "nodes": {"part": {"kind": "bare", "from": "x"}}, "outputs": {"y": "part"}})


def test_a_class_that_cannot_start_anew_is_refused_on_meta_too() -> None:
    @assembler.kind("x: [... in] -> y: [... in]")
    class Tabled(nn.Module):
        def __init__(self, in_: int) -> None:
            super().__init__()
            self.map = nn.Linear(in_, in_)
            nn.init.eye_(self.map.weight)

        def forward(self, x: Tensor) -> Tensor:
            return self.map(x)

    with pytest.raises(TypeError, match=r"`Tabled` writes over `map\.weight`"):
        assembler.build({"inputs": {"x": "[batch 4]"}, "nodes": {"part": {"kind": "tabled", "from": "x"}}, "outputs": {"y": "part"}}, device="meta")


# --- mistakes in a declaration ---
def test_a_decorator_without_its_line_is_no_declaration() -> None:
    with pytest.raises(TypeError, match="wants a line of ports"):
        assembler.kind(nn.Linear)  # type: ignore[arg-type]


def _class(forward: Any = lambda self, x: x, **arguments: Any) -> type[nn.Module]:
    import inspect

    def init(self: nn.Module, **given: Any) -> None:
        nn.Module.__init__(self)

    init.__signature__ = inspect.Signature([inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD), *(  # type: ignore[attr-defined]
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation) for name, annotation in arguments.items())])  # fmt: skip
    init.__annotations__ = dict(arguments)
    return type("Declared", (nn.Module,), {"__init__": init, "forward": forward})


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (_class(table=dict), "`table` of `Declared.__init__` is `dict`"),
        (_class(repeat=int), "every node has a key `repeat`"),
        (_class(forward=lambda self: None), "is called as `forward(x)`"),
        (_class(forward=lambda self, x, y: None), "is called as `forward(x)`"),
        (type("Args", (nn.Module,), {"__init__": lambda self, *sizes: None, "forward": lambda self, x: x}), "options have names"),
        (type("Bare", (nn.Module,), {"__init__": lambda self, size: None, "forward": lambda self, x: x}), "not annotated"),
        (int, "a torch.nn.Module"),
    ],
)
def test_a_class_that_no_recipe_could_use_is_refused_where_it_stands(made: type, why: str) -> None:
    with pytest.raises(TypeError) as found:
        assembler.kind("x: [... in] -> y: [... in]")(made)
    assert why in str(found.value)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"requires": "in is even"}, "a demand reads"),
        ({"requires": "in % == 0"}, "no expression"),
        ({"parameters": {"weight": "in"}, "body": [step("y", "multiply", "x", "weight")]}, "says how `weight` starts"),
        ({"body": [step("z", "add", "x")]}, "does not write y"),
        ({"body": [step("y", "add", "w")]}, "reads `w`"),
        ({"name": "Mine"}, "cannot name a kind"),
        ({"version": 0}, "versions count from 1"),
        ({"example": "{kind: declared, sice: 3}"}, "the example of `declared`"),
    ],
)
def test_a_declaration_that_holds_a_mistake_says_so(said: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError) as found:
        assembler.kind("x: [... in] -> y: [... in]", **said)(_class(choice=Literal["a", "b"]))
    assert why in str(found.value)


# --- eject ---
def test_ejected_source_holds_the_class_and_what_it_uses_and_gives_the_same_numbers(package: Package, tmp_path: Path) -> None:
    package()
    use("acme.kinds")
    text = assembler.eject(recipe(out=4))
    assert "Imports torch only." in text
    assert "assembler.kind" not in text
    assert "import acme" not in text
    assert "FACTOR = 1.0 / math.sqrt(2)" in text
    space: dict[str, Any] = {"__name__": "ejected"}
    exec(compile(text, "ejected", "exec"), space)
    x = torch.randn(3, 16)
    assert torch.equal(space["Model"](seed=5)(x), assembler.build(recipe(out=4), seed=5)(x))


def test_a_class_that_needs_more_than_torch_is_imported_and_the_file_says_so(package: Package) -> None:
    package(text='import assembler, torch, yaml\n@assembler.kind("x: [... d] -> y: [... d]")\nclass Dumped(torch.nn.Module):\n    def forward(self, x):\n        yaml.safe_dump(1)\n        return x\n')
    use("acme.kinds")
    text = assembler.eject({"inputs": {"x": "[batch 4]"}, "nodes": {"part": {"kind": "dumped", "from": "x"}}, "outputs": {"y": "part"}})
    assert "Imports torch, and acme.kinds." in text
    assert "from acme.kinds import Dumped  # not copied: it uses `yaml` (import yaml)" in text
