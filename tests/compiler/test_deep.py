"""Large graphs: straight lines, no recursion, no quadratic step."""

from __future__ import annotations

import sys
import time

import torch

from assembler.compiler.allow import check_text
from assembler.compiler.build import build
from assembler.compiler.eject import eject
from assembler.compiler.emit import emit
from assembler.compiler.plan import plan
from tests.compiler.made import graph_of, plan_of

torch.set_num_threads(1)


def chain(count: int) -> str:
    nodes = "".join(f"  n{i}: {{kind: linear, out: 2, from: {f'n{i - 1}' if i else 'x'}}}\n" for i in range(count))
    return f"name: chain\ninputs: {{x: '[batch 2]'}}\nnodes:\n{nodes}outputs: {{y: n{count - 1}}}\n"


def test_a_chain_of_5000_leaves_is_5000_lines() -> None:
    made = plan_of(chain(5000))
    text = emit(made)
    check_text(text)
    assert text.count("x = self.n") == 5000
    eject(made)
    model = build(made, seed=1)
    assert model(torch.zeros(1, 2)).shape == (1, 2)
    assert made.parameters == 5000 * 6


def test_a_sum_of_5000_inputs_is_folded_a_statement_at_a_time() -> None:
    nodes = "".join(f"  n{i}: {{kind: scale, value: 2.0, from: x}}\n" for i in range(5000))
    every = ", ".join(f"n{i}" for i in range(5000))
    made = plan_of(f"name: wide\ninputs: {{x: '[batch 2]'}}\nnodes:\n{nodes}  all: {{kind: mean, from: [{every}]}}\noutputs: {{y: all}}\n")
    assert max(map(len, emit(made).splitlines())) < 120
    x = torch.randn(3, 2)
    assert torch.allclose(build(made)(x), 2 * x, rtol=1e-3)


def test_planning_takes_time_in_proportion_to_the_nodes() -> None:
    """Counted in calls, not in seconds."""
    counts = []
    for size in (200, 800):
        graph, facts = graph_of(chain(size))
        calls = 0

        def count(frame: object, event: str, argument: object) -> None:
            nonlocal calls
            calls += 1

        sys.setprofile(count)
        try:
            emit(plan(graph, facts))
        finally:
            sys.setprofile(None)
        counts.append(calls)
    assert counts[1] < 5 * counts[0]


def test_a_repeat_of_many_copies_is_planned_once() -> None:
    recipe = "{name: m, inputs: {x: '[b 4]'}, nodes: {s: {kind: bus, repeat: 50000, from: x, parts: {l: {kind: linear}}}}, outputs: {y: s}}"
    graph, facts = graph_of(recipe.replace("{kind: linear}", "{kind: linear, out: 4}"))
    start = time.process_time()
    made = plan(graph, facts)
    assert time.process_time() - start < 1.0
    assert made.parameters == 50000 * 20
    assert "range(50000)" in emit(made)


def test_sixty_containers_inside_one_another() -> None:
    inner = "{kind: linear, out: 4}"
    for _ in range(60):
        inner = f"{{kind: sequence, parts: {{p: {inner}}}}}"
    made = plan_of(f"{{name: m, inputs: {{x: '[b 4]'}}, nodes: {{a: {inner[:-1]}, from: x}}}}, outputs: {{y: a}}}}")
    model = build(made, seed=1)
    assert model(torch.zeros(2, 4)).shape == (2, 4)
    assert len(next(iter(model.state_dict())).split(".")) == 62
