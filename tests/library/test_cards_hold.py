"""One table for every kind: what its card claims is measured on the module that is built from it."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping

import pytest
import torch
import yaml
from torch import Tensor, nn

from assembler.graph.container import PARTS
from assembler.library import registry
from assembler_schemas.kind import Parameter
from tests.library.built import Built, call, draw, flat, fresh, read_port, use
from tests.library.reference import number, run_body
from tests.library.sample import Sample, Shape
from tests.library.samples_basic import SAMPLES as BASIC
from tests.library.samples_more import SAMPLES as MORE

torch.set_num_threads(1)

SAMPLES: dict[str, list[Sample]] = {**BASIC, **MORE}
NAMES = [name for name in registry.names() if name in registry.STATIC]
CONTAINERS = {name for name in NAMES if registry.STATIC[name] in ("contain", "sparse")}

FOREIGN = {"given"}
"""Kinds whose module is handed over: the card claims nothing of it (`tests/compiler/test_given.py`)."""

CASES = [(name, index) for name in NAMES for index in range(len(SAMPLES.get(name, [])))]
LEADS = [(name, index, lead) for name, index in CASES for lead in SAMPLES[name][index].leads]


@pytest.fixture(autouse=True)
def _seed(request: pytest.FixtureRequest) -> None:
    torch.manual_seed(zlib.crc32(request.node.name.encode()))


def test_every_kind_has_samples() -> None:
    assert {name for name in SAMPLES if SAMPLES[name]} == set(NAMES) - CONTAINERS - FOREIGN


@pytest.mark.parametrize("name", NAMES)
def test_the_example_is_a_node_with_valid_options(name: str) -> None:
    kind = registry.kind(name)
    assert kind is not None
    node = yaml.safe_load(kind.example)
    assert node.pop("kind") == name
    shared = {"from", "norm", "parts", "nodes", "inputs", "outputs"} if kind.container else {"from"}
    held = {key for key in PARTS.get(name, ()) if isinstance(node.get(key), dict)}
    options = kind.options.model_validate({key: value for key, value in node.items() if key not in shared | held})
    assert kind.summary
    assert kind.source or registry.STATIC[name] in ("contain", "loss")
    if not kind.container:
        assert set(kind.places(options) if kind.places else ()) <= _submodules(name)


def _submodules(name: str) -> set[str]:
    """The inner places that any sample of the kind has."""
    samples = SAMPLES[name]
    return {place for s in samples for place, _ in use(name, s, s.leads[0]).module().named_children()}


@pytest.mark.parametrize(("name", "index", "lead"), LEADS)
def test_outputs_are_what_the_ports_say(name: str, index: int, lead: Shape) -> None:
    built = use(name, SAMPLES[name][index], lead)
    found = call(built.module(), built, draw(built))
    assert set(found) == set(built.definition.outputs)
    for port, value in found.items():
        assert tuple(value.shape) == built.output_shape(port)
        assert value.dtype == (read_port(built.definition.outputs[port].type).dtype or torch.float32)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("name", "index", "lead"), LEADS)
def test_the_body_computes_what_the_module_computes(name: str, index: int, lead: Shape, training: bool) -> None:
    built = use(name, SAMPLES[name][index], lead)
    module = built.module().train(training)
    _stir(module)
    values, state = draw(built), _leaves(module)
    theirs = fresh(values)
    torch.manual_seed(5)
    expected = run_body(built.definition, built.sizes, state, theirs, training)
    torch.manual_seed(5)
    found = call(module, built, values)
    for port in built.definition.outputs:
        torch.testing.assert_close(found[port], expected[port], rtol=1e-5, atol=1e-5)
    _backward(found)
    _backward(expected)
    for mine, other in zip(flat(values), flat(theirs), strict=True):
        _same_gradient(mine, other)
    for key, parameter in module.named_parameters():
        assert parameter.grad is not None, f"{key} receives no gradient"
        _same_gradient(parameter, state[key])


def _stir(module: nn.Module) -> None:
    """Moves every parameter and float buffer away from ones and zeros, which hide mistakes."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
        for buffer in module.buffers():
            if buffer.is_floating_point():
                buffer.add_(torch.rand_like(buffer))


def _leaves(module: nn.Module) -> dict[str, Tensor]:
    state = {key: value.detach().clone() for key, value in module.state_dict().items()}
    for key, _ in module.named_parameters():
        state[key].requires_grad_()
    return state


def _backward(outputs: Mapping[str, Tensor]) -> None:
    """From a fixed random cotangent, so that no error cancels in a sum."""
    generator = torch.Generator().manual_seed(7)
    total = torch.zeros(())
    for value in outputs.values():
        weight = torch.randn(value.shape, generator=generator)
        total = total + (value.float() * weight).sum()
    if total.requires_grad:
        torch.autograd.backward(total)


def _same_gradient(mine: Tensor, other: Tensor) -> None:
    a = torch.zeros_like(mine) if mine.grad is None else mine.grad
    b = torch.zeros_like(other) if other.grad is None else other.grad
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "index"), CASES)
def test_the_state_is_what_the_card_says(name: str, index: int) -> None:
    sample = SAMPLES[name][index]
    built = use(name, sample, sample.leads[0])
    module, claimed = built.module(), built.definition.parameters
    state = module.state_dict()
    assert list(state) == list(claimed)
    for key, parameter in claimed.items():
        assert tuple(state[key].shape) == tuple(number(size, built.sizes) for size in parameter.shape), key
        assert state[key].dtype == (torch.int64 if parameter.dtype == "i64" else torch.float32), key
    assert {key for key, _ in module.named_buffers()} == {key for key, p in claimed.items() if p.buffer}


@pytest.mark.parametrize(("name", "index"), CASES)
def test_parameters_start_as_the_card_says(name: str, index: int) -> None:
    sample = SAMPLES[name][index]
    built = use(name, sample, sample.leads[0])
    states: list[dict[str, Tensor]] = []
    for key, parameter in built.definition.parameters.items():
        _check_start(key, parameter, built, states)


def _check_start(key: str, parameter: Parameter, built: Built, states: list[dict[str, Tensor]]) -> None:
    """Modules are added to `states` until there are enough numbers to tell a distribution."""
    found = re.fullmatch(r"(\w+)(?:\((.*)\))?", parameter.init)
    assert found is not None, parameter.init
    if found[1] == "numbers":
        each = torch.tensor([float(item) for item in found[2].split(",")], dtype=torch.float64)
        assert torch.equal(built.module().state_dict()[key], each.float())
        return
    form, argument = found[1], float(number(found[2] or "0", built.sizes))
    constants = {"zeros": 0.0, "ones": 1.0, "constant": argument}
    size = math.prod(number(size, built.sizes) for size in parameter.shape)
    draws = 1 if form in constants else min(500, math.ceil(4000 / size))
    states.extend(built.module().state_dict() for _ in range(draws - len(states)))
    x = torch.stack([state[key].flatten() for state in states])
    if form in constants:
        assert torch.equal(x, torch.full_like(x, constants[form]))
        return
    x = _without_padding(x, built)
    deviation = {"normal": argument, "uniform": argument / math.sqrt(3)}[form]
    sigma = deviation / math.sqrt(x.numel())
    assert abs(float(x.mean())) < 5 * sigma, key
    assert abs(float(x.std()) - deviation) < 3.5 * sigma, key  # a deviation is known to sigma/sqrt(2) or better
    highest = float(x.abs().max()) / argument
    assert highest > 2.2 if form == "normal" else 0.97 < highest <= 1.0, f"{key} is not {parameter.init}"


def _without_padding(x: Tensor, built: Built) -> Tensor:
    """The one row that a table may keep at zero is zero; the others are as the card says."""
    padding = getattr(built.options, "padding", None)
    if built.kind.name != "embedding" or padding is None:
        return x
    rows = x.view(len(x), built.sizes["vocab"], -1)
    assert not rows[:, padding].any()
    return torch.cat((rows[:, :padding], rows[:, padding + 1 :]), dim=1)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in CONTAINERS | FOREIGN])
def test_every_default_and_size_is_a_name_of_the_card(name: str) -> None:
    for sample in SAMPLES[name]:
        built = use(name, sample, sample.leads[0])
        assert set(built.definition.defaults) <= set(built.sizes)
        assert built.definition.main in ("", *built.definition.outputs)
        written = {step.output for step in built.definition.body}
        assert set(built.definition.outputs) <= written
