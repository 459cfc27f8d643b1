"""One table for every kind: what its card claims is measured on the module that is built from it."""

from __future__ import annotations

import zlib

import pytest
import torch
import yaml

from assembler.graph.container import PARTS
from assembler.library import registry
from assembler.testing import claims
from assembler.testing.built import use
from assembler.testing.sample import Sample, Shape
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
    if kind.places is not None:
        assert set(kind.places(options)) <= _submodules(name)


def _submodules(name: str) -> set[str]:
    """The inner places that any sample of the kind has."""
    samples = SAMPLES[name]
    return {place for s in samples for place, _ in use(name, s, s.leads[0]).module().named_children()}


@pytest.mark.parametrize(("name", "index", "lead"), LEADS)
def test_outputs_are_what_the_ports_say(name: str, index: int, lead: Shape) -> None:
    claims.outputs(use(name, SAMPLES[name][index], lead))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("name", "index", "lead"), LEADS)
def test_the_body_computes_what_the_module_computes(name: str, index: int, lead: Shape, training: bool) -> None:
    claims.body(use(name, SAMPLES[name][index], lead), training)


@pytest.mark.parametrize(("name", "index"), CASES)
def test_the_state_is_what_the_card_says(name: str, index: int) -> None:
    sample = SAMPLES[name][index]
    claims.state(use(name, sample, sample.leads[0]))


@pytest.mark.parametrize(("name", "index"), CASES)
def test_parameters_start_as_the_card_says(name: str, index: int) -> None:
    sample = SAMPLES[name][index]
    claims.starts(use(name, sample, sample.leads[0]))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in CONTAINERS | FOREIGN])
def test_every_default_and_size_is_a_name_of_the_card(name: str) -> None:
    for sample in SAMPLES[name]:
        built = use(name, sample, sample.leads[0])
        assert built.definition.body
        claims.names(built)
