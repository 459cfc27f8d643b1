"""Grafts inside kinds: the rewritten body says what the module does, and every mode is what it is outside."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

import assembler
from assembler.assemble import origin
from assembler.facts.flow import flow
from assembler.graph.graft.inner import RESERVED
from assembler.library.modules.graft import GraftedLinear
from assembler.testing.reference import run_body
from tests.compiler.test_grafts import built, certified, certified_as_measured, first_steps
from tests.graph.recipes import check

torch.set_num_threads(1)

HOST = """
inputs: {x: "[batch seq 16]"}
nodes:
  attend: {kind: attention, heads: 4, kv_heads: 2, qk_norm: rms_norm, rotary: true, from: x}
outputs: {y: attend}
"""
GRAFTS = [
    "a: {read: attend.q.x, write: attend.q, mode: add, part: {kind: low_rank, rank: 2}}",
    "a: {write: attend.v, mode: add, scale: 2.0, part: {kind: mlp, hidden: 8}}",
    "a: {write: attend.out, mode: add, norm: both, scale: {learned: true, value: 0.5, channel: true}, part: {kind: linear}}",
    "a: {read: attend.k.x, write: attend.k, mode: add, part: {kind: swiglu, hidden: 8}}, b: {write: attend.k, mode: add, part: {kind: linear}}",
    "a: {write: attend.k, mode: add, scale: 0.5, part: {kind: linear}}, b: {write: attend.k, mode: add, after: a, part: {kind: linear}}",
    "a: {write: attend.q, mode: add, part: {kind: layer_norm}}, b: {read: attend.v.x, write: attend.v, mode: add, part: {kind: linear, bias: false}}",
    "a: {read: attend.k.x, write: attend.k, mode: gate, scale: 0.5, part: {kind: swiglu, hidden: 8}}",
    *(f"a: {{write: attend.v, mode: gate, form: {form}, scale: {{channel: true}}, part: {{kind: linear}}}}" for form in ("sigmoid", "tanh", "double_sigmoid")),
    "a: {read: attend.out.x, write: attend.out, mode: blend, norm: both, scale: {value: 0.3, channel: true}, part: {kind: low_rank, rank: 2}}",
    "a: {write: attend.v, mode: blend, part: {kind: mlp, hidden: 8}}",
    "a: {write: attend.k, mode: replace, norm: out, scale: 0.5, part: {kind: linear}}",
    "a: {read: attend.q.x, write: attend.q, mode: replace, norm: pre, scale: learned, part: {kind: low_rank, rank: 2}}",
    "a: {read: attend.v.x, write: attend.v, mode: replace, part: {kind: mlp, hidden: 8}}, b: {write: attend.v, mode: gate, after: a, part: {kind: linear}}",
]


def _x(width: int = 16) -> torch.Tensor:
    return torch.randn(2, 5, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("grafts", GRAFTS)
def test_body_and_module_give_the_same(grafts: str):
    model = assembler.build(yaml.safe_load(HOST + f"grafts: {{{grafts}}}"), seed=1)
    known = origin(model)
    assert known is not None
    unfolded = flow(known.graph, known.facts)
    assert unfolded is not None
    (use,) = unfolded.uses
    values = {key: dict(model.named_parameters())[unfolded.weights[number].address] for key, number in use.weights.items()}
    assert len(values) == len(list(model.parameters()))
    given = run_body(use.definition, {**use.facts.sizes, "seq": 5}, values, {"x": _x()})["y"]  # type: ignore[dict-item]
    torch.testing.assert_close(model(_x()), given, rtol=1e-5, atol=1e-6)


# --- inside is as outside: the map at `body.down` gives what the node `body` gives ---
MLP = """
inputs: {x: "[batch seq 16]"}
nodes:
  body: {kind: mlp, from: x}
outputs: {y: body}
"""
ALIKE = [
    *(f"a: {{write: AT, mode: {mode}, part: {{kind: mlp, hidden: 8}}}}" for mode in ("add", "gate", "blend", "replace")),
    *(f"a: {{write: AT, mode: gate, form: {form}, scale: {{value: 0.7, learned: true}}, part: {{kind: linear}}}}" for form in ("sigmoid", "tanh", "double_sigmoid")),
    "a: {write: AT, mode: add, norm: both, norm_kind: rms_norm, scale: -0.3, part: {kind: linear}}",
    "a: {write: AT, mode: blend, norm: out, scale: {value: 0.7, channel: true}, part: {kind: linear}}",
    "a: {write: AT, mode: add, part: {kind: linear}}, b: {write: AT, mode: add, after: c, part: {kind: linear}}, c: {write: AT, mode: add, part: {kind: mlp, hidden: 8}}",
    "c: {write: AT, mode: blend, after: [a, b], part: {kind: linear}}, b: {write: AT, mode: replace, after: a, part: {kind: layer_norm}}, a: {write: AT, mode: add, part: {kind: linear}}",
    "a: {write: AT, mode: replace, part: {kind: scale, learned: true, channel: true, value: 2.0}}, b: {write: AT, mode: gate, after: a, part: {kind: linear}}",
]  # fmt: skip


@pytest.mark.parametrize("grafts", ALIKE)
def test_a_graft_inside_is_to_the_bit_what_it_is_outside(grafts: str):
    inside, outside = (built(MLP + f"grafts: {{{grafts.replace('AT', at)}}}") for at in ("body.down", "body"))
    state = {key.removeprefix("body.down.") if key.count(".") > 2 else key: value for key, value in inside.state_dict().items()}
    outside.load_state_dict(state)
    assert torch.equal(inside(_x()), outside(_x()))


# --- silent and alive ---
STACK = """
inputs: {x: "[batch seq 16]"}
nodes:
  enc: {kind: bus, repeat: 3, norm: pre, from: x, parts: {attend: {kind: attention, heads: 2}, think: {kind: swiglu, hidden: 24}}}
  head: {kind: linear, out: 4, from: enc}
outputs: {y: head}
"""
ONE = "{write: AT, init: zero, MODE, part: {kind: mlp, hidden: 8}}"
SILENT = [
    *(
        "a: " + ONE.replace("AT", at).replace("MODE", f"{read}{mode}")
        for at, read in (('"enc.*.attend.q"', ""), ("enc.1.think.down", "read: enc.1.think.down.x, "))
        for mode in (
            "mode: gate",
            "mode: gate, norm: both",
            "mode: gate, form: double_sigmoid, scale: learned",
            "mode: gate, form: double_sigmoid, norm: pre, scale: {value: 0.5, channel: true}",
            "mode: blend",
            "mode: blend, norm: both, scale: {channel: true}",
            "mode: add, scale: 0.1",
            "mode: add, scale: {channel: true}, norm: out",
        )
    ),
    'a: {write: "enc.0:2.think.gate", mode: replace, init: identity, part: {kind: linear}}',
    'a: {write: "enc.*.attend.k", mode: replace, init: identity, part: {kind: scale, learned: true, channel: true}}, b: {write: "enc.*.attend.v", mode: replace, init: identity, part: {kind: scale, learned: true, channel: true}}',
    'low: {read: "enc.*.attend.q.x", write: "enc.*.attend.q", mode: add, init: zero, part: {kind: low_rank, rank: 2}}, long: {write: "enc.*.attend.q", after: low, mode: replace, init: identity, part: {kind: scale, learned: true, channel: true}}',
    "a: {write: enc.2.attend.out, mode: blend, init: zero, part: {kind: linear}}, b: {write: enc.2.attend.out, after: a, mode: gate, init: zero, part: {kind: linear}}, c: {write: enc.2.attend.out, after: b, mode: add, init: zero, part: {kind: linear}}",
]  # fmt: skip


@pytest.mark.parametrize("grafts", SILENT)
def test_every_form_inside_is_silent_to_the_bit_and_learns_when_it_is_said_to(grafts: str):
    host, model = built(STACK), built(STACK + f"grafts: {{{grafts}}}\n")
    assert torch.equal(host(_x()), model(_x()))
    certified_as_measured(model, host, (_x(),))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("number", [0, 2, 4, 16, 18])
def test_silence_inside_holds_in_half_precision(dtype: torch.dtype, number: int):
    host, model = (
        assembler.build(yaml.safe_load(text), seed=0, dtype=dtype)
        for text in (STACK, STACK + f"grafts: {{{SILENT[number]}}}\n")
    )
    assert torch.equal(host(_x().to(dtype)), model(_x().to(dtype)))


def test_a_loud_graft_behind_a_silent_one_does_not_make_that_one_loud():
    """The next graft takes the name over that what the first made had in the body."""
    grafts = "a: {write: enc.0.attend.q, mode: add, init: zero, part: {kind: linear}}, b: {write: enc.0.attend.q, mode: gate, after: a, part: {kind: linear}}"
    model = built(STACK + f"grafts: {{{grafts}}}\n")
    found = [(item.silent, item.disturbs) for item in certified(model)]
    assert found == [("bits", ""), (None, "enc.0.attend.q.b")]


def test_a_loud_graft_in_front_of_a_silent_one_is_not_held_against_it():
    grafts = "a: {write: enc.0.attend.q, mode: gate, part: {kind: linear}}, b: {write: enc.0.attend.q, mode: blend, init: zero, after: a, part: {kind: linear}}"
    first, both = (
        built(STACK + f"grafts: {{{text}}}\n") for text in (grafts.partition(", b:")[0], grafts)
    )
    assert [item.silent for item in certified(both)] == [None, "bits"]
    assert torch.equal(first(_x()), both(_x()))


# --- another map instead of the host's ---
INSTEAD = 'new: {read: "enc.*.attend.q.x", write: "enc.*.attend.q", mode: replace, part: {kind: low_rank, rank: 2}}'


def test_a_map_that_is_replaced_is_gone_with_its_weights_and_all_that_is_left_learns():
    host, model = built(STACK), built(STACK + f"grafts: {{{INSTEAD}}}\n")
    before, after = set(host.state_dict()), set(model.state_dict())
    assert before - after == {f"enc.{i}.attend.q.{key}" for i in range(3) for key in ("weight", "bias")}
    assert after - before == {f"enc.{i}.attend.q.new.{key}.weight" for i in range(3) for key in ("down", "up")}
    assert [(item.silent, item.alive) for item in certified(model)] == [(None, 0)]
    assert set(first_steps(model, nn.Module(), (_x(),), steps=1).values()) == {0}


# --- a plain module ---
EVERY = (
    'low: {read: "enc.*.attend.q.x", write: "enc.*.attend.q", mode: add, scale: 2.0, part: {kind: low_rank, rank: 2}}, '
    'long: {write: "enc.*.attend.q", after: low, mode: replace, part: {kind: scale, learned: true, channel: true, value: 0.5}}, '
    'open: {write: "enc.1:.think.up", mode: gate, form: double_sigmoid, norm: both, part: {kind: linear}}, '
    'mixed: {read: "enc.*.think.down.x", write: "enc.*.think.down", mode: blend, scale: {channel: true}, part: {kind: mlp, hidden: 8}}, '
    + INSTEAD.replace("attend.q", "attend.k")
)


@pytest.fixture(scope="module")
def every() -> nn.Module:
    return built(STACK + f"grafts: {{{EVERY}}}\n")


def test_a_module_with_grafts_in_every_mode_is_copied_pickled_exported_and_compiled(every: nn.Module):
    wanted = every(_x())
    for other in (pickle.loads(pickle.dumps(every)), copy.deepcopy(every)):  # noqa: S301
        assert torch.equal(wanted, other(_x()))
    assert torch.equal(wanted, torch.export.export(every, (_x(),)).module()(_x()))
    compiled = torch.compile(every, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(_x()), wanted)


def test_the_ejected_text_of_grafts_in_every_mode_is_the_model(every: nn.Module):
    space: dict[str, object] = {}
    exec(assembler.eject(yaml.safe_load(STACK + f"grafts: {{{EVERY}}}\n")), space)  # noqa: S102
    alone = space["Model"](seed=0)  # type: ignore[operator]
    assert list(alone.state_dict()) == list(every.state_dict())
    assert torch.equal(alone(_x()), every(_x()))


def test_grafts_in_every_mode_are_saved_and_loaded_and_take_the_weights_of_their_host(every: nn.Module, tmp_path: Path):
    assembler.save(every, tmp_path / "run")
    assert torch.equal(assembler.load_model(tmp_path / "run")(_x()), every(_x()))
    host = built(STACK, seed=3)
    assembler.save(host, tmp_path / "host")
    model = built(STACK + f"grafts: {{{SILENT[18]}}}\n", seed=4)
    assembler.load_weights(model, tmp_path / "host", strict=False)
    assert torch.equal(model(_x()), host(_x()))


def test_more_grafts_stand_in_one_map_than_brackets_can_stand_in_one_another():
    """Python reads at most 200."""
    grafts = ", ".join(f"g{i}: {{write: body.up, mode: add, part: {{kind: scale, learned: true}}}}" for i in range(202))
    model = built(MLP + f"grafts: {{{grafts}}}\n")
    assert len(model.body.up.branches) == 202  # type: ignore[union-attr,arg-type]


def test_no_graft_is_called_as_what_a_linear_map_has():
    have = {name for name in dir(GraftedLinear(nn.Linear(1, 1))) if not name.startswith("_")}
    assert have - set(dir(nn.Module())) <= RESERVED


# --- copies of what holds a graft ---
TWO = """
inputs: {x: "[batch seq 16]"}
nodes:
  one: {kind: attention, heads: 2, from: x}
  two: {kind: attention, heads: 2, init: {copy: one}, from: one}
outputs: {y: two}
"""


@pytest.mark.parametrize("at", ["one", "two"])
def test_values_are_copied_from_and_to_a_host_without_what_a_graft_brought(at: str):
    model = built(TWO + f"grafts: {{g: {{write: {at}.q, mode: gate, part: {{kind: linear}}}}}}\n")
    assert torch.equal(model.one.q.weight, model.two.q.weight)  # type: ignore[union-attr,arg-type]


def test_a_map_that_is_no_more_cannot_be_copied():
    report = check(TWO + "grafts: {g: {read: one.q.x, write: one.q, mode: replace, part: {kind: linear}}}\n")
    assert [item.code for item in report.diagnostics] == ["init-copy"]
