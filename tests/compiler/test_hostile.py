"""Nothing of a recipe becomes code: names, descriptions, places, strings (hostile recipes D10, D11, L07, L08)."""

from __future__ import annotations

import ast
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from assembler.compiler.allow import Refused, check_text
from assembler.compiler.build import build
from assembler.compiler.eject import eject
from assembler.compiler.emit import emit
from assembler.compiler.names import class_name, comment, docstring, identifier, literal, variable
from assembler.compiler.plan import plan
from assembler.graph.model import Graph
from assembler_schemas.span import Span
from tests.compiler.made import DIGITS, graph_of, plan_of

torch.set_num_threads(1)

TEXTS = [
    'x; import os', 'x\nimport os', 'x"""', '"""\nimport os\n"""', "x{y}", "x%s", "x${y}", "\\", '\\"""', '"', '""',
    "a\\\nb", "\x00", "\u2028import os", "\x0cimport os", "\x85import os", "\rimport os", "\u202e", "\ud800", "a" * 1_000_000,
    "# coding: latin-1", "'''", "None", "True", "class", "ß", "名", "", " ", "1", "../../x", "__init__", "torch", "F",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_no_text_of_a_recipe_breaks_out_of_the_compiled_one(text: str) -> None:
    graph, facts = graph_of(DIGITS)
    nodes = {name: node._replace(span=Span(text, 3, 1)) for name, node in graph.scope.nodes.items()}
    hostile = graph._replace(name=text, description=text, scope=graph.scope._replace(nodes=nodes))
    plain, made = plan(graph, facts), plan(hostile, facts)
    for source in (emit(made), eject(made)):
        source.encode()
        assert _skeleton(source) == _skeleton(emit(plain) if source == emit(made) else eject(plain))
    check_text(emit(made))
    assert torch.equal(build(made, seed=1).state_dict()["head.weight"], build(plain, seed=1).state_dict()["head.weight"])


def _skeleton(source: str) -> list[str]:
    """Every node of the syntax, without texts and without the name of the model."""
    return [type(node).__name__ for node in ast.walk(ast.parse(source))]


@pytest.mark.parametrize("name", ["x; import os", "x\nimport os", 'x"""', "x{y}", "x%s", "X", "_x", "1x", "", "x.y", "é", "class", "x\n"])
def test_a_hostile_node_name_never_reaches_the_text(name: str) -> None:
    graph, facts = graph_of(DIGITS)
    nodes = {(name if key == "pool" else key): node for key, node in graph.scope.nodes.items()}
    with pytest.raises((ValueError, KeyError)):
        plan(graph._replace(scope=graph.scope._replace(nodes=nodes)), facts)
    with pytest.raises(ValueError, match="no name"):
        identifier(name)


@pytest.mark.parametrize("name", ["torch", "nn", "range", "int", "probe", "check", "x", "h", "loss", "image_shape", "super", "block", "print"])
def test_an_input_may_have_any_name_that_the_language_allows(name: str) -> None:
    made = plan_of(
        f"{{name: m, inputs: {{{name}: '[batch seq 4]'}}, nodes: {{a: {{kind: softmax, from: {name}}}, b: {{kind: sequence, repeat: 3,"
        f" from: a, parts: {{l: {{kind: linear, out: 4}}, s: {{kind: activation, activation: tanh}}}}}}}}, outputs: {{y: b, z: a}}}}"
    )
    model = build(made, seed=1)
    value = torch.randn(2, 3, 4)
    assert torch.equal(model(**{name: value})["z"], torch.softmax(value, -1))
    assert torch.equal(model(value)["y"], model(**{name: value})["y"])


@pytest.mark.parametrize("name", ["torch", "nn", "x", "range", "sum", "loss", "block", "layer", "here", "seed", "print", "copy", "initialize"])
def test_a_node_may_have_any_name_that_the_language_allows(name: str) -> None:
    made = plan_of(
        f"{{name: m, inputs: {{image: '[b 4]'}}, nodes: {{{name}: {{kind: linear, out: 4, repeat: 2, from: image}}, tail: {{kind: linear,"
        f" out: 4, from: {name}.0}}, all: {{kind: add, from: [{name}, tail, image, {name}.0]}}}}, outputs: {{y: all}}}}"
    )
    model = build(made, seed=1)
    image = torch.randn(3, 4)
    stack = getattr(model, name)
    first = stack[0](image)
    assert torch.equal(model(image), stack[1](first) + model.tail(first) + image + first)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_docstrings_comments_and_names_hold_for_any_text(text: str) -> None:
    source = f'"""{docstring(text)}"""\nx = 1  # {comment(text)}\nclass {class_name(text, ())}: pass\n{variable(text)} = 2\n'
    tree = ast.parse(source)
    assert [type(node).__name__ for node in tree.body] == ["Expr", "Assign", "ClassDef", "Assign"]
    assert source.encode()


@settings(max_examples=300, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20), lambda x: st.lists(x, max_size=3)))
def test_a_literal_reads_back_as_the_same_value(value: object) -> None:
    back = eval(literal(value), {"__builtins__": {}}, {"float": float})
    assert back == value
    assert repr(back) == repr(value)


def test_special_floats_round_trip() -> None:
    for value in (math.inf, -math.inf, -0.0, 1e-45, 0.1, 5e-324):
        assert repr(eval(literal(value))) == repr(value)
    assert math.isnan(eval(literal(math.nan)))
    with pytest.raises(TypeError):
        literal(object())


def test_a_long_description_is_cut() -> None:
    graph, facts = graph_of(DIGITS)
    assert len(emit(plan(graph._replace(description="word " * 300_000), facts))) < 20_000


@pytest.mark.parametrize(
    "line",
    [
        "import os", "from os import path", "import torch.hub", "from torch import load", "from torch import nn as F",
        "from assembler.library.modules import annotations", "open('x')", "eval('1')", "__import__('os')", "exec('1')",
        "torch.load('x')", "torch.hub.load('x')", "torch.ops.load_library('x')", "torch._C", "().__class__.__bases__",
        "x = lambda: torch.save", "torch.set_default_dtype(torch.float64)", "global x", "async def f(): pass",
        "try:\n    pass\nexcept Exception:\n    pass", "class A: pass", "@torch.jit.script\ndef f(): pass", "getattr(torch, 'load')",
        "torch.utils.cpp_extension.load()", "yield 1", "import torch as os", "nn.Module.__subclasses__()", "match 1:\n    case _: 1",
        "torch.from_file('x')", "'{0.__class__}'.format(1)",
    ],
)  # fmt: skip
def test_the_allow_list_refuses_what_emit_never_writes(line: str) -> None:
    with pytest.raises(Refused):
        check_text("import hashlib\nimport torch\nfrom torch import nn\n" + line)


def test_the_allow_list_refuses_what_is_not_python() -> None:
    for text in ("x = (", "\x00", "(" * 10_000):
        with pytest.raises(Refused):
            check_text(text)


def test_a_class_never_takes_the_name_of_a_library_class() -> None:
    made = plan_of(
        "{name: mlp, inputs: {x: '[b 4]'}, nodes: {attention: {kind: sequence, from: x, parts: {m: {kind: mlp}, n: {kind: layer_norm}}}},"
        " outputs: {y: attention}}"
    )
    names = [item.name for item in made.classes]
    assert not {"MLP", "Attention"} & set(names)
    assert build(made)(torch.zeros(2, 4)).shape == (2, 4)
    space: dict[str, object] = {}
    exec(compile(eject(made), "ejected", "exec"), space)
    assert isinstance(graph_of(DIGITS)[0], Graph)
