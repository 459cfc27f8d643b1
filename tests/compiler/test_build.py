"""The model that the text defines: pickle, copies, state, devices, compile, export, tracebacks."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
import torch

from assembler.compiler.build import build, compile_blocks, dynamic_shapes, initialize, load
from assembler.compiler.emit import emit
from assembler.compiler.plan import plan
from tests.compiler.made import ALL, DIGITS, NEST, SHARE, graph_of, plan_of, values_for

torch.set_num_threads(1)

BRIEF = {name: text.replace("depth: 4", "depth: 2").replace("repeat: 6", "repeat: 4").replace("repeat: 5", "repeat: 3") for name, text in ALL.items()}
"""With as few copies as are read one by one: the compiler writes every copy out once more."""


def run_alone(code: str, *arguments: str, package: bool = True) -> str:
    """What a fresh process prints."""
    path = ":".join(sys.path) if package else ""
    done = subprocess.run([sys.executable, "-I", "-c", f"import sys; sys.path[:0] = {path.split(':')!r}\n{code}", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def flat(out: torch.Tensor | dict[str, torch.Tensor]) -> list[torch.Tensor]:
    return list(out.values()) if isinstance(out, dict) else [out]


@pytest.fixture(autouse=True)
def _fresh() -> None:
    torch.manual_seed(0)
    torch._dynamo.reset()


@pytest.mark.parametrize("name", ALL)
def test_keys_are_addresses_and_parameters_are_counted_once(name: str) -> None:
    made = plan_of(ALL[name])
    model = build(made, seed=1)
    assert sum(parameter.numel() for parameter in model.parameters()) == made.parameters
    if name == "digits":
        assert "encoder.3.think.up.weight" in model.state_dict()


def test_inputs_by_position_or_keyword_and_outputs_by_name() -> None:
    model = build(plan_of(NEST), seed=1)
    values = values_for(plan_of(NEST))
    by_name, by_place = model(**values), model(*values.values())
    assert list(by_name) == ["y", "z"]
    assert all(torch.equal(by_name[key], by_place[key]) for key in by_name)


def test_an_optional_input_may_be_left_out() -> None:
    made = plan_of(SHARE)
    model, values = build(made, seed=1), values_for(made)
    assert torch.allclose(model(values["x"]), model(**values), atol=1e-6)


def test_a_pickled_model_runs_in_a_spawned_process(tmp_path: Path) -> None:
    for name in ALL:
        made = plan_of(ALL[name])
        model, values = build(made, seed=1), values_for(made)
        (tmp_path / name).write_bytes(pickle.dumps((model, values, flat(model(**values)))))
    run_alone(
        "import pickle, torch\n"
        "torch.set_num_threads(1)\n"
        "for path in sys.argv[1:]:\n"
        "    model, values, out = pickle.load(open(path, 'rb'))\n"
        "    new = model(**values)\n"
        "    new = list(new.values()) if isinstance(new, dict) else [new]\n"
        "    assert all(torch.equal(a, b) for a, b in zip(out, new, strict=True)), path\n",
        *(str(tmp_path / name) for name in ALL),
    )


def test_one_block_alone_can_be_saved_and_loaded_elsewhere(tmp_path: Path) -> None:
    model = build(plan_of(DIGITS), seed=1)
    torch.save(model.get_submodule("encoder.2"), tmp_path / "block.pt")
    printed = run_alone("import torch\nprint(type(torch.load(sys.argv[1], weights_only=False)).__name__)", str(tmp_path / "block.pt"))
    assert printed == "EncoderBlock\n"


def test_a_deep_copy_is_equal_and_independent() -> None:
    made = plan_of(SHARE)
    model, values = build(made, seed=1), values_for(made)
    twin = copy.deepcopy(model)
    before = model(**values)
    assert torch.equal(twin(**values), before)
    assert twin.head.weight is twin.first.weight
    with torch.no_grad():
        twin.first.weight.zero_()
    assert torch.equal(model(**values), before)


def test_assigned_state_is_what_forward_reads() -> None:
    made = plan_of(DIGITS)
    model, other = build(made, seed=1), build(made, seed=2)
    model.load_state_dict(copy.deepcopy(other.state_dict()), assign=True)
    values = values_for(made)
    assert torch.equal(model(**values)["logits"], other(**values)["logits"])


@pytest.mark.parametrize("name", ALL)
def test_a_model_built_on_meta_is_filled_with_equal_values(name: str) -> None:
    made = plan_of(ALL[name])
    model, filled = build(made, seed=7), build(made, device="meta")
    assert all(parameter.is_meta for parameter in filled.parameters())
    initialize(filled, 7)
    for key, value in model.state_dict().items():
        assert torch.equal(value, filled.state_dict()[key]), key
    assert len(list(filled.parameters())) == len(list(model.parameters()))
    assert [p.requires_grad for p in filled.parameters()] == [p.requires_grad for p in model.parameters()]


def test_a_model_that_is_laid_out_first_starts_as_its_class_does_by_itself() -> None:
    model = build(plan_of(SHARE), seed=3)
    alone = type(model)(seed=3)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), alone.state_dict().values(), strict=True))
    assert model.head.weight is model.first.weight
    torch.manual_seed(4)
    one, after = build(plan_of(SHARE)), torch.get_rng_state()
    torch.manual_seed(4)
    two = type(model)()
    assert torch.equal(after, torch.get_rng_state())
    assert torch.equal(one.first.weight, two.first.weight)


def test_dtype_is_of_all_but_nodes_that_state_their_own() -> None:
    model = build(plan_of(SHARE), dtype=torch.float64, seed=1)
    assert model.first.bias.dtype == torch.float64
    assert model.many[0].weight.dtype == torch.float64
    assert torch.get_default_dtype() == torch.float32
    own = plan_of("{name: m, inputs: {x: 'bf16 [b 4]'}, nodes: {a: {kind: linear, out: 4, dtype: bf16, from: x}}, outputs: {y: a}}")
    assert build(own, dtype=torch.float64).a.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dynamic", [False, True])
def test_compiles_whole_with_backward(name: str, dynamic: bool) -> None:
    made = plan_of(BRIEF[name])
    model, values = build(made, seed=1), values_for(made, 3)
    want = flat(model(**values))
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    got = flat(compiled(**values))
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(want, got, strict=True))
    sum(value.sum() for value in want).backward()
    grads = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    sum(value.sum() for value in got).backward()
    for one, parameter in zip(grads, model.parameters(), strict=True):
        assert (one is None) == (parameter.grad is None)
        assert one is None or torch.allclose(one, parameter.grad, atol=1e-4)


def test_exports_strictly_and_runs_in_a_fresh_process(tmp_path: Path) -> None:
    for name, text in BRIEF.items():
        graph, facts = graph_of(text)
        made = plan(graph, facts)
        model, values, other = build(made, seed=1), values_for(made, 3), values_for(made, 5, 9)
        program = torch.export.export(model, (), values, dynamic_shapes=dynamic_shapes(graph, facts), strict=True)
        torch.export.save(program, tmp_path / f"{name}.pt2")
        torch.save((other, flat(model(**other))), tmp_path / f"{name}.pt")
    run_alone(
        "import torch\n"
        "torch.set_num_threads(1)\n"
        "for path in sys.argv[1:]:\n"
        "    values, want = torch.load(path + '.pt')\n"
        "    out = torch.export.load(path + '.pt2').module()(**values)\n"
        "    out = list(out.values()) if isinstance(out, dict) else [out]\n"
        "    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(out, want, strict=True)), path\n"
        "assert 'assembler' not in sys.modules\n",
        *(str(tmp_path / name) for name in BRIEF),
        package=False,
    )


def test_a_traceback_shows_the_line_of_the_text() -> None:
    model = build(plan_of(DIGITS), seed=1)
    model.pool = torch.nn.Linear(3, 3)
    try:
        model(torch.zeros(2, 1, 8, 8))
    except RuntimeError as error:
        shown = "".join(traceback.format_exception(error))
        assert "x = self.pool(x)" in shown
    else:
        pytest.fail("a Linear(3, 3) took 64 columns")


def test_one_text_is_run_once_in_a_process() -> None:
    made = plan_of(DIGITS)
    assert type(build(made)) is type(build(made))
    assert load(emit(made)) is sys.modules[type(build(made)).__module__]


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch's own look at what enters a block
def test_alike_blocks_are_compiled_once_and_change_no_value() -> None:
    made, compiled = plan_of(DIGITS), []

    def counting(graph: torch.fx.GraphModule, _: Any) -> Any:
        compiled.append(graph)
        return graph

    model, plain, values = build(made, seed=1), build(made, seed=1), values_for(made)
    assert compile_blocks(model, fullgraph=True, backend=counting) is model
    assert list(model.state_dict()) == list(plain.state_dict())
    model(**values)["logits"].sum().backward()
    assert len(compiled) == 1 < len(model.encoder)
    plain(**values)["logits"].sum().backward()
    for one, two in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(one.grad, two.grad, atol=1e-5)


def test_dynamic_sizes_hold_derived_ones() -> None:
    shapes = dynamic_shapes(*graph_of(NEST))
    assert str(shapes["image"][2]) == "8*h"
    assert shapes["image"][0] is shapes["ids"][0]
    assert set(shapes["image"]) == {0, 2, 3}
