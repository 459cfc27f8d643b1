"""Grafts inside real models of Transformers, built from small configurations: nothing is downloaded."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

import assembler
from assembler.assemble import origin
from assembler.checks.grafts import certificates
from assembler.facts.flow import flow
from assembler.facts.zero.analysis import zero
from assembler.library.hosts import card, host

torch.set_num_threads(1)

CONFIGS: dict[str, dict[str, Any]] = {
    "bert": {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24, "vocab_size": 40},
    "gpt2": {"n_embd": 16, "n_layer": 3, "n_head": 2, "vocab_size": 40, "bos_token_id": 0, "eos_token_id": 1},
    "llama": {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 24, "vocab_size": 40},
    "vit": {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24, "image_size": 12, "patch_size": 4},
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [2, 2], "layer_type": "basic", "num_channels": 3},
    "convnext": {"hidden_sizes": [8, 16], "depths": [2, 2], "num_stages": 2, "patch_size": 4, "num_channels": 3},
}
SITES = {"bert": ("h0", "h1"), "gpt2": ("h0", "h1"), "llama": ("h0", "h1"), "vit": ("h0", "h1"), "resnet": ("h2", "h3"), "convnext": ("h2", "h3")}
MODES = {
    "add": "mode: add, init: zero, {read}part: {part}",
    "add, scaled": "mode: add, init: zero, scale: learned, {read}part: {part}",
    "gate": "mode: gate, init: zero, {read}part: {part}",
    "blend": "mode: blend, init: zero, {read}part: {part}",
}


def model_of(family: str) -> tuple[Any, nn.Module]:
    config = transformers.AutoConfig.for_model(family, **CONFIGS[family])
    torch.manual_seed(0)
    return config, transformers.AutoModel.from_config(config).eval()


def inputs_of(family: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    if family in ("vit", "resnet", "convnext"):
        return {"pixels": torch.randn(2, 3, *((12, 12) if family == "vit" else (32, 32)), generator=generator)}
    mask = torch.ones(2, 5, dtype=torch.bool)
    mask[1, 3:] = False
    return {"ids": torch.randint(40, (2, 5), generator=generator), "keep": mask}


def recipe_of(family: str, config: Any, graft: str = "") -> dict[str, Any]:
    import yaml

    image = family in ("vit", "resnet", "convnext")
    kinds = card(host(config)).inputs
    text = yaml.safe_load(graft) if graft else {}
    return {
        "name": family,
        "inputs": {"pixels": kinds["pixel_values"]} if image else {"ids": kinds["input_ids"], "keep": "mask [batch seq]"},
        "nodes": {
            "host": {"kind": "given", "host": host(config), "freeze": True, "from": {"pixel_values": "pixels"} if image else {"input_ids": "ids", "attention_mask": "keep"}},
        },
        "outputs": {"y": "host.last_hidden_state"},
        **({"grafts": text} if text else {}),
    }  # fmt: skip


def graft_of(family: str, mode: str) -> str:
    early, late = SITES[family]
    conv = family in ("resnet", "convnext")
    read = "" if conv else f"read: host.{early}, "
    part = "{kind: conv2d, kernel: 1, out: 16}" if conv else "{kind: mlp, hidden: 4}"
    return f"side: {{write: host.{late}, {MODES[mode].format(read=read, part=part)}}}"


def steps_of(model: nn.Module, given: dict[str, Tensor], names: list[str]) -> dict[str, int | None]:
    """The first SGD step at which each parameter has a gradient."""
    found: dict[str, int | None] = dict.fromkeys(names)
    optimizer = torch.optim.SGD([item for item in model.parameters() if item.requires_grad], lr=0.05)
    for step in range(3):
        optimizer.zero_grad()
        out = model(**given)
        (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
        for name in names:
            gradient = model.get_parameter(name).grad
            if found[name] is None and gradient is not None and bool(gradient.ne(0).any()):
                found[name] = step
        optimizer.step()
    return found


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("family", CONFIGS)
def test_a_graft_inside_a_family_is_silent_to_the_bit_and_alive_as_certified(family: str, mode: str) -> None:
    config, module = model_of(family)
    given, alone = inputs_of(family), copy.deepcopy(module)
    expected = alone(**dict(zip(("pixel_values",) if len(given) == 1 else ("input_ids", "attention_mask"), given.values(), strict=True))).last_hidden_state
    keys = list(module.state_dict())
    model = assembler.build(recipe_of(family, config, graft_of(family, mode)), given={"host": module}, seed=0).eval()
    assert torch.equal(model(**given), expected)
    assert [name for name in model.state_dict() if name.startswith("host.")] == [f"host.{name}" for name in keys]
    assert type(module) is type(alone)
    assert all(torch.equal(mine, item) for mine, item in zip(module.state_dict().values(), alone.state_dict().values(), strict=True))
    known = origin(model)
    assert known is not None
    unfolded = flow(known.graph, known.facts)
    assert unfolded is not None
    (certificate,) = certificates(known.graph, unfolded, zero(unfolded))
    assert certificate.silent == "bits"
    names = [name for name, item in model.named_parameters() if item.requires_grad]
    assert names
    assert all(name.startswith("side") for name in names)
    assert steps_of(model, given, names) == dict(certificate.steps)
    assert not torch.equal(model(**given), expected)  # three steps later it does something
    assert torch.equal(module(**dict(zip(("pixel_values",) if len(given) == 1 else ("input_ids", "attention_mask"), given.values(), strict=True))).last_hidden_state, expected)  # and the host alone is what it was


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "vit"])
def test_what_replaces_a_site_of_a_family_starts_as_its_value(family: str) -> None:
    config, module = model_of(family)
    given, alone = inputs_of(family), copy.deepcopy(module)
    expected = alone(**dict(zip(("pixel_values",) if len(given) == 1 else ("input_ids", "attention_mask"), given.values(), strict=True))).last_hidden_state
    graft = "side: {write: host.h1, mode: replace, init: identity, part: {kind: linear, out: 16}}"
    model = assembler.build(recipe_of(family, config, graft), given={"host": module}, seed=0).eval()
    assert torch.equal(model(**given), expected)
    assert steps_of(model, given, ["side.weight", "side.bias"]) == {"side.weight": 0, "side.bias": 0}


@pytest.mark.parametrize("family", CONFIGS)
def test_hooks_survive_copies_pickles_and_the_compiler(family: str) -> None:
    config, module = model_of(family)
    given = inputs_of(family)
    model = assembler.build(recipe_of(family, config, graft_of(family, "add")), given={"host": module}, seed=0).eval()
    with torch.no_grad():
        for item in model.side.parameters():
            item.normal_()
    wanted = model(**given)
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(copied(**given), wanted)
        with torch.no_grad():
            for item in copied.side.parameters():
                item.zero_()
        assert not torch.equal(copied(**given), wanted)
        assert torch.equal(model(**given), wanted)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(**given), wanted)


def test_a_module_of_another_configuration_is_one_finding_and_not_one_at_every_site() -> None:
    config, _ = model_of("bert")
    module = transformers.AutoModel.from_config(transformers.AutoConfig.for_model("bert", **{**CONFIGS["bert"], "hidden_size": 32}))
    with pytest.raises(assembler.RecipeError) as problem:
        assembler.build(recipe_of("bert", config, graft_of("bert", "add")), given={"host": module})
    assert [item.message for item in problem.value.report.diagnostics] == [
        "the module for `host` is not the one that its `host` describes: `hidden_size` is 32"
    ]
