"""Copies in a row against a loop written by hand: runs, taps, shared weights, expressions, losses."""

from __future__ import annotations

import torch

from assembler.compiler.build import build
from assembler.compiler.emit import emit
from assembler.compiler.plan import plan
from assembler.facts.model import Facts
from assembler.graph.model import Graph, Group, Ref, Repeat, Run
from tests.compiler.made import graph_of, plan_of

torch.set_num_threads(1)


def test_runs_with_different_blocks_are_one_list() -> None:
    made = plan_of(
        "{name: m, inputs: {x: '[b s 8]'}, nodes: {s: {kind: bus, repeat: 5, from: x, parts: {a: {kind: attention, heads: 2}, f: {kind: mlp, hidden: 16}}}},"
        " rules: {wide: {at: 's.1:3.f', set: {hidden: 32}}}, outputs: {y: s}}"
    )
    text = emit(made)
    assert "nn.ModuleList([SBlock(), *(SBlock2() for _ in range(2)), *(SBlock() for _ in range(2))])" in text
    assert text.count("for block in self.s:") == 1
    model = build(made, seed=1)
    assert [block.f.up.out_features for block in model.s] == [16, 32, 32, 16, 16]
    x = torch.randn(2, 3, 8)
    want = x
    for block in model.s:
        want = want + block.a(want)
        want = want + block.f(want)
    assert torch.equal(model(x), want)


def test_a_width_that_changes_at_the_first_copy_only() -> None:
    made = plan_of("{name: m, inputs: {x: '[b 3]'}, nodes: {s: {kind: linear, out: 8, repeat: 4, from: x}}, outputs: {y: s}}")
    model = build(made, seed=1)
    assert "nn.ModuleList([nn.Linear(3, 8), *(nn.Linear(8, 8) for _ in range(3))])" in emit(made)
    assert model(torch.zeros(2, 3)).shape == (2, 8)


def test_the_first_copy_of_a_repeated_sum_takes_all_its_inputs() -> None:
    made = plan_of("{name: m, inputs: {x: '[b 3]', z: '[b 3]'}, nodes: {s: {kind: mean, repeat: 3, from: [x, z]}}, outputs: {y: s}}")
    x, z = torch.randn(2, 3), torch.randn(2, 3)
    assert torch.equal(build(made)(x, z), (x + z) / 2)


def test_the_other_inputs_go_to_every_copy_and_are_freed_behind_the_loop() -> None:
    made = plan_of(
        "{name: m, inputs: {x: '[b s 8]', mem: '[b t 8]'}, nodes: {s: {kind: bus, repeat: 2, from: {x: x, memory: mem},"
        " parts: {c: {kind: cross_attention, heads: 2}}}, h: {kind: layer_norm, from: s}}, outputs: {y: h}}"
    )
    assert "        for block in self.s:\n            x = block(x, mem)\n        del mem\n" in emit(made)
    model = build(made, seed=1)
    x, mem = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    want = x
    for block in model.s:
        want = want + block.c(want, mem)
    assert torch.equal(model(x, mem), model.h(want))


def test_what_only_a_tap_reads_ends_the_run_there() -> None:
    made = plan_of("{name: m, inputs: {x: '[b 3]'}, nodes: {s: {kind: linear, out: 3, repeat: 9, from: x}}, outputs: {y: s.1}}")
    text = emit(made)
    assert "self.s[:2]" in text
    assert "self.s[2:]" not in text
    assert len(build(made).s) == 9


def _lossy(repeat: str) -> tuple[Graph, Facts]:
    """A graph whose repeated block also gives a loss: the mean of its linear map's output."""
    graph, facts = graph_of(
        f"{{name: m, inputs: {{x: '[b 4]'}}, nodes: {{s: {{kind: sequence, {repeat}, from: x, parts: {{l: {{kind: linear, out: 4}}, n: {{kind: layer_norm}}}}}},"
        " h: {kind: linear, out: 4, from: s}}, outputs: {y: h}}"
    )
    node = graph.scope.nodes["s"]
    assert isinstance(node, Repeat)
    runs = []
    for run in node.runs:
        assert isinstance(run.node, Group)
        scope = run.node.scope
        scope = scope._replace(outputs={**scope.outputs, "losses": Ref("l", "y")}, losses=("losses",))
        runs.append(Run(run.count, run.node._replace(scope=scope)))
    node = node._replace(runs=tuple(runs), losses=("losses",))
    outputs = {**graph.scope.outputs, "aux": Ref("s", "losses"), "early": Ref("s", "1.losses")}
    graph = graph._replace(scope=graph.scope._replace(nodes={**graph.scope.nodes, "s": node}, outputs=outputs))
    return graph, facts


def test_losses_add_up_over_the_copies() -> None:
    for repeat in ("repeat: 4", "repeat: 4, share: true"):
        graph, facts = _lossy(repeat)
        made = plan(graph, facts)
        model = build(made, seed=1)
        x = torch.randn(2, 4)
        blocks = [model.s] * 4 if "share" in repeat else list(model.s)
        total, value, parts = torch.zeros(()), x, []
        for block in blocks:
            parts.append(block.l(value))
            value = block.n(parts[-1])
        total = parts[0] + parts[1] + parts[2] + parts[3]
        out = model(x)
        assert torch.allclose(out["aux"], total)
        assert torch.equal(out["early"], parts[1])
        assert torch.equal(out["y"], model.h(value))


def test_a_loop_of_losses_is_written_as_a_person_would() -> None:
    graph, facts = _lossy("repeat: 4")
    outputs = {key: ref for key, ref in graph.scope.outputs.items() if key != "early"}
    text = emit(plan(graph._replace(scope=graph.scope._replace(outputs=outputs)), facts))
    assert (
        "        loss = 0.0\n        for block in self.s:\n            x, part = block(x)\n            loss = loss + part\n            del part\n"
    ) in text


def test_a_tap_of_copies_that_give_out_what_they_take_is_the_value_itself() -> None:
    made = plan_of(
        "{name: m, inputs: {x: '[b s 4]'}, nodes: {i: {kind: identity, repeat: 3, from: x}, l: {kind: linear, out: 4, from: i.2},"
        " k: {kind: linear, out: 4, from: i.0}, s: {kind: add, from: [l, k, i.1, i]}}, outputs: {y: s, z: i.1}}"
    )
    model, x = build(made, seed=1), torch.randn(2, 3, 4)
    found = model(x)
    assert torch.equal(found["y"], model.l(x) + model.k(x) + x + x)
    assert torch.equal(found["z"], x)


def test_a_stream_that_every_copy_also_reads_outlives_the_first_copy() -> None:
    made = plan_of(
        "{name: m, inputs: {x: '[b s 4]'}, nodes: {i: {kind: identity, from: x}, g: {kind: gate, repeat: 3, share: true, from: {base: x, gate: i}},"
        " h: {kind: layer_norm, from: g}}, outputs: {y: h}}"
    )
    model, x = build(made, seed=1), torch.randn(2, 3, 4)
    want = x
    for _ in range(3):
        want = want * torch.sigmoid(x)
    assert torch.allclose(model(x), model.h(want))


def test_a_stream_that_is_also_the_memory_of_every_copy_keeps_its_first_value() -> None:
    made = plan_of(
        "{name: m, inputs: {x: '[b s 4]'}, nodes: {n: {kind: layer_norm, from: x}, s: {kind: sequence, repeat: 3, from: {x: n, memory: n},"
        " parts: {c: {kind: cross_attention, heads: 2}}}, h: {kind: layer_norm, from: s}}, outputs: {y: h}}"
    )
    model, x = build(made, seed=1), torch.randn(2, 3, 4)
    memory = want = model.n(x)
    for block in model.s:
        want = block.c(want, memory)
    assert torch.equal(model(x), model.h(want))
