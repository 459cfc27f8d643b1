"""Grafts on built models: the host is undisturbed where that is demanded, and every weight of a graft learns."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Sequence

import pytest
import torch
import yaml
from torch import nn

import assembler
from assembler.assemble import origin
from assembler.checks.grafts import Certificate, certificates
from assembler.facts.flow import flow
from assembler.facts.zero.analysis import zero
from tests.graph.recipes import check

HOST = """
inputs: {x: "[batch seq 16]", z: "[batch seq 24]"}
nodes:
  body: {kind: mlp, from: x}
  other: {kind: linear, out: 4, from: z}
  head: {kind: linear, out: 4, from: body}
  sum: {kind: add, from: [head, other]}
outputs: {y: sum}
"""
READS = {
    "same": "part: {kind: mlp, hidden: 8}",
    "unasked": "read: z, part: {kind: mlp, hidden: 8}",
    "asked": "write: {port: body, adapt: linear}, part: {kind: mlp, hidden: 8, out: 12}",
    "narrow": "write: {port: body, adapt: {kind: low_rank, rank: 2}}, part: {kind: linear, out: 12}",
}


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, 16, generator=generator), torch.randn(2, 3, 24, generator=generator)


def built(text: str, seed: int = 0) -> nn.Module:
    report = check(text)
    assert report.ok, str(report)
    return assembler.build(yaml.safe_load(text), seed=seed)


def grafted(keys: str, host: str = HOST) -> nn.Module:
    write = "" if "write:" in keys else "write: body, "
    return built(host + f"grafts: {{side: {{{write}init: zero, {keys}}}}}\n")


def new_weights(model: nn.Module, host: nn.Module) -> dict[str, nn.Parameter]:
    known = dict(host.named_parameters())
    return {name: weight for name, weight in model.named_parameters() if name not in known}


def first_steps(
    model: nn.Module, host: nn.Module, given: Sequence[torch.Tensor], steps: int = 7
) -> dict[str, int | None]:
    """The first SGD step at which each weight of a graft has a gradient; None: at none of seven."""
    found: dict[str, int | None] = dict.fromkeys(new_weights(model, host))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for step in range(steps):
        optimizer.zero_grad()
        (model(*given) - 1).square().mean().backward()
        for name, weight in model.named_parameters():
            if name in found and found[name] is None and weight.grad is not None and bool(weight.grad.ne(0).any()):
                found[name] = step
        optimizer.step()
    return found


def certified(model: nn.Module) -> list[Certificate]:
    """What analysis Z certifies of the graph that a model was built from."""
    known = origin(model)
    assert known is not None
    unfolded = flow(known.graph, known.facts)
    assert unfolded is not None
    return certificates(known.graph, unfolded, zero(unfolded))


def certified_as_measured(model: nn.Module, host: nn.Module, given: Sequence[torch.Tensor]) -> None:
    found = certified(model)
    assert [item.silent for item in found] == ["bits"] * len(found)
    predicted = {name: step for item in found for name, step in item.steps.items()}
    measured = first_steps(model, host, given)
    assert predicted == measured
    assert None not in measured.values()


def silent_and_alive(model: nn.Module, host: nn.Module) -> None:
    assert all(torch.equal(weight, dict(model.named_parameters())[name]) for name, weight in host.named_parameters())
    assert torch.equal(host(*inputs()), model(*inputs()))
    assert new_weights(model, host)
    certified_as_measured(model, host, inputs())


NORMS = ("", "norm: pre", "norm: out", "norm: both")
FORMS = [
    *itertools.product(
        ("mode: add",),
        (*NORMS, "norm: both, norm_kind: rms_norm"),
        ("", "scale: 0.5", "scale: learned", "scale: {learned: true, value: 0.5, channel: true}"),
        READS,
    ),
    *itertools.product(("mode: gate", "mode: gate, form: double_sigmoid"), NORMS, ("", "scale: learned"), READS),
]


@pytest.mark.parametrize(("mode", "norm", "scale", "width"), FORMS)
def test_every_form_that_is_possible_is_silent_to_the_bit_and_alive(mode: str, norm: str, scale: str, width: str):
    host = built(HOST)
    keys = ", ".join(filter(None, (mode, norm, scale, READS[width])))
    silent_and_alive(grafted(keys), host)


@pytest.mark.parametrize(
    ("norm", "scale", "width"),
    list(
        itertools.product(
            ("", "norm: pre", "norm: out", "norm: both"), ("", "scale: learned", "scale: {channel: true}"), READS
        )
    ),
)
def test_a_blend_starts_as_the_host(norm: str, scale: str, width: str):
    keys = ", ".join(filter(None, ("mode: blend", norm, scale, READS[width])))
    silent_and_alive(grafted(keys), built(HOST))


@pytest.mark.parametrize("norm", ["", "norm: pre", "norm: out", "norm: both"])
@pytest.mark.parametrize(
    "part", ["part: {kind: mlp, hidden: 8}", "read: z, part: {kind: mlp, hidden: 8}", "part: {kind: linear, out: 5}"]
)
def test_a_concat_starts_with_columns_at_zero(norm: str, part: str):
    silent_and_alive(grafted(", ".join(filter(None, ("mode: concat", norm, part)))), built(HOST))


def test_a_square_map_can_replace_its_own_input():
    host, model = (
        built(HOST),
        built(HOST + "grafts: {side: {write: body, mode: replace, init: identity, part: {kind: linear, out: 16}}}\n"),
    )
    silent_and_alive(model, host)


def test_without_a_demand_a_graft_disturbs_its_host():
    host, model = built(HOST), built(HOST + "grafts: {side: {write: body, mode: add, part: {kind: mlp, hidden: 8}}}\n")
    assert not torch.equal(host(*inputs()), model(*inputs()))
    assert [(item.silent, item.disturbs) for item in certified(model)] == [(None, "side")]


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        *(
            (f"mode: gate, form: {form}, {norm}part: {{kind: mlp, hidden: 8}}", "gate-not-silent")
            for form in ("sigmoid", "tanh")
            for norm in ("", "norm: pre, ", "norm: out, ")
        ),
        *(
            (f"mode: {mode}, norm: post, part: {{kind: mlp, hidden: 8}}", "norm-on-host")
            for mode in ("add", "gate", "blend", "concat", "replace")
        ),
        *(
            (f"mode: blend, scale: {scale}, part: {{kind: mlp, hidden: 8}}", "blend-not-silent")
            for scale in ("0.3", "1", "{learned: true, value: 0.5}")
        ),
        ("mode: blend, scale: 0, part: {kind: mlp, hidden: 8}", "blend-not-silent"),
        ("mode: concat, scale: learned, part: {kind: mlp, hidden: 8}", "concat-not-silent"),
        ("mode: concat, write: head, part: {kind: mlp, hidden: 8}", "concat-not-silent"),
        ("mode: replace, part: {kind: linear}", "replace-not-silent"),
        ("mode: replace, init: identity, part: {kind: mlp, hidden: 16}", "replace-not-silent"),
        ("mode: replace, init: identity, read: z, part: {kind: linear, out: 16}", "replace-not-silent"),
        ("mode: replace, init: identity, norm: out, part: {kind: linear}", "replace-not-silent"),
        ("mode: replace, init: identity, scale: learned, part: {kind: linear}", "replace-not-silent"),
        ("mode: add, norm: out, part: {kind: mlp, hidden: 8, init: zero}", "norm-after-zero"),
        (
            "mode: add, norm: out, norm_kind: {kind: layer_norm, affine: false}, part: {kind: mlp, hidden: 8}",
            "no-writing-layer",
        ),
        ("mode: add, part: {kind: activation}", "no-writing-layer"),
        ("mode: add, part: {kind: bus, parts: {a: {kind: linear}}}", "no-writing-layer"),
    ],
)
def test_every_form_that_is_impossible_is_refused(keys: str, code: str):
    stated = {"write": "write: body, ", "init": "init: zero, "}
    text = "".join(text for key, text in stated.items() if f"{key}: " not in keys.partition("part:")[0])
    report = check(HOST + f"grafts: {{side: {{{text}{keys}}}}}\n")
    assert [item.code for item in report.diagnostics if item.level == "error"] == [code], str(report)


# --- copies, hosts frozen, LoRA ---
STACK = """
inputs: {x: "[batch seq 16]"}
nodes:
  enc: {kind: bus, repeat: 4, norm: pre, from: x, parts: {attend: {kind: attention, heads: 2}, think: {kind: mlp}}}
  head: {kind: linear, out: 4, from: enc}
outputs: {y: head}
"""
GRAFTS = {
    "a gate of a late block by an early one": "side: {read: enc.1, write: enc.3, mode: gate, init: zero, part: {kind: mlp, hidden: 8}}",
    "every part of every block": 'side: {write: "enc.*.*", mode: add, init: zero, part: {kind: mlp, hidden: 8}}',
    "some blocks, an outer value": 'side: {read: x, write: "enc.1:3.attend", mode: blend, init: zero, part: {kind: linear}}',
    "the stream into a block": "side: {write: enc.2.x, mode: add, init: zero, part: {kind: mlp, hidden: 8}}",
    "an edge": "side: {write: head.x, mode: concat, init: zero, part: {kind: linear, out: 3}}",
    "low rank": 'lora: {read: "enc.*.attend.q.x", write: "enc.*.attend.q", mode: add, scale: 2.0, init: zero, part: {kind: low_rank, rank: 2}}',
    "inside, a factor": 'side: {read: "enc.*.attend.v.x", write: "enc.*.attend.v", mode: add, scale: learned, init: zero, norm: pre, part: {kind: mlp, hidden: 4}}',
    "inside, a gain": "side: {write: enc.0.think.up, mode: add, norm: out, init: zero, part: {kind: linear}}",
    "two at one map": "{a: {write: enc.0.think.up, mode: add, init: zero, part: {kind: linear}}, b: {write: enc.0.think.up, mode: add, init: zero, after: a, part: {kind: low_rank, rank: 2}}}",
}


def stacked(name: str) -> nn.Module:
    text = GRAFTS[name]
    return built(STACK + f"grafts: {text if text.startswith('{') else '{' + text + '}'}\n")


@pytest.mark.parametrize("name", GRAFTS)
def test_grafts_in_copies_and_in_kinds_are_silent_and_alive(name: str):
    host, model = built(STACK), stacked(name)
    x = inputs()[0]
    assert set(dict(host.named_parameters())) <= set(dict(model.named_parameters()))
    assert torch.equal(host(x), model(x))
    certified_as_measured(model, host, (x,))


@pytest.mark.parametrize("name", ["low rank", "two at one map", "a gate of a late block by an early one"])
def test_a_grafted_model_is_a_plain_module(name: str):
    model, (x, _) = stacked(name), inputs()
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert torch.equal(model(x), other(x))
    assert torch.equal(torch.export.export(model, (x,)).module()(x), model(x))
    space: dict[str, object] = {}
    exec(
        assembler.eject(
            yaml.safe_load(
                STACK + "grafts: " + (GRAFTS[name] if GRAFTS[name].startswith("{") else "{" + GRAFTS[name] + "}")
            )
        ),
        space,
    )  # noqa: S102
    alone = space["Model"](seed=0)  # type: ignore[operator]
    assert list(alone.state_dict()) == list(model.state_dict())
    assert torch.equal(alone(x), model(x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "keys",
    [
        "mode: add",
        "mode: gate",
        "mode: gate, form: double_sigmoid",
        "mode: blend",
        "mode: concat",
        "mode: add, norm: out",
    ],
)
def test_silence_holds_in_half_precision(dtype: torch.dtype, keys: str):
    text = HOST + f"grafts: {{side: {{write: body, init: zero, {keys}, part: {{kind: mlp, hidden: 8}}}}}}\n"
    host, model = (assembler.build(yaml.safe_load(item), seed=0, dtype=dtype) for item in (HOST, text))
    given = [x.to(dtype) for x in inputs()]
    assert torch.equal(host(*given), model(*given))


def test_low_rank_maps_on_a_frozen_gpt2():
    small = ["vars.depth=2", "vars.width=32", "vars.heads=4", "vars.vocab=50", "vars.length=16", "vars.dropout=0.0"]
    host = assembler.build(assembler.load("recipes/gpt2.yaml", small), seed=3)
    model = assembler.build(assembler.load("recipes/gpt2.yaml", [*small, "+freeze=true", "+grafts=lora"]), seed=3)
    ids = torch.arange(10).reshape(1, 10)
    assert torch.equal(host(ids), model(ids))
    learned = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    assert set(learned) == {
        f"stack.{i}.attend.{at}.lora_{at}.{key}.weight" for i in range(2) for at in "qv" for key in ("down", "up")
    }
    assert sum(weight.numel() for weight in learned.values()) == 2 * 2 * 8 * (32 + 32)
    model(ids).square().mean().backward()
    assert all(weight.grad is None for name, weight in model.named_parameters() if name not in learned)
    assert all(bool(weight.grad.ne(0).any()) == ("up" in name) for name, weight in learned.items())  # type: ignore[union-attr]
