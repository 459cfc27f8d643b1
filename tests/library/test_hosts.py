"""Host cards against the real classes of Transformers, built from small configurations; nothing is downloaded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import assembler
from assembler.facts.norm.state import RAW, STREAM, State
from assembler.library.hosts import HostError, card, families, host
from tests.graph.recipes import MARK, bad, good
from tests.library.hosts import SIZES, Seen, config_of, inputs_of, model_of, sizes_of

torch.set_num_threads(1)


@pytest.mark.parametrize("family", families())
def test_every_port_and_site_of_a_family_is_as_its_card_says_at_coprime_sizes(family: str) -> None:
    config = config_of(family)
    model, found = model_of(config), card(config.to_dict())
    for sizes in SIZES:
        seen = Seen(model, inputs_of(found, sizes), **found.call)
        made = {name: value for name, value in seen.out.items() if isinstance(value, Tensor)}
        assert {name: tuple(value.shape) for name, value in made.items()} == {
            name: sizes_of(text, sizes) for name, text in found.outputs.items()
        }
        assert all(value.dtype == torch.float32 for value in made.values())
        paths = [site.path for site in found.sites.values()]
        assert [path for path in seen.ended if path in paths] == paths  # each runs once, in this order
        for name, site in found.sites.items():
            assert (name, tuple(seen[site.path].shape)) == (name, sizes_of(site.type, sizes))
            assert seen[site.path].dtype == torch.float32
            assert seen[site.path].equal(seen.copies[site.path]), (
                f"{name} is changed in place: a graft that reads it would see that"
            )
        # Without what is optional it runs as well.
        model(
            **{name: value for name, value in inputs_of(found, sizes).items() if name not in found.optional},
            **found.call,
        )


@pytest.mark.parametrize("family", families())
def test_what_is_called_embeddings_enters_the_first_layer_and_a_layer_enters_the_next(family: str) -> None:
    config = config_of(family)
    found = card(config.to_dict())
    seen = Seen(model_of(config), inputs_of(found, SIZES[0]), **found.call)
    order = [name for name in found.sites if name in ("embeddings", "final") or name[1:].isdigit()]
    for before, after in pairwise(order):
        value, entered = seen[found.sites[before].path], seen.entered[found.sites[after].path]
        if value.shape == entered.shape:  # a stage may begin with a layer that halves the image
            assert value.equal(entered), (before, after)
        else:
            assert family.startswith("convnext")
    last = seen[found.sites[order[-1]].path]
    assert last.equal(seen.out["last_hidden_state"])


@pytest.mark.parametrize("family", families())
def test_the_norm_state_of_a_site_is_what_its_values_show(family: str) -> None:
    config = config_of(family)
    model, found = model_of(config), card(config.to_dict())
    seen = Seen(model, inputs_of(found, SIZES[1]), **found.call)
    norms = {path: module for path, module in model.named_modules() if "Norm" in type(module).__name__}
    claims = [(name, site.norm, seen[site.path]) for name, site in found.sites.items()]
    claims += [(name, state, seen.out[name]) for name, state in found.norms.items()]
    for name, state, value in claims:
        behind = [module for path, module in norms.items() if path in seen and _holds(seen[path], value)]
        if state in ("", "stream"):
            assert not behind, f"{name} is normed, and the card does not say so"
        elif state == "bounded":
            assert value.abs().max() <= 1
        else:
            _is_normed(behind[0], value, state, one_plus=family == "gemma")


def _holds(normed: Tensor, value: Tensor) -> bool:
    """Whether it is that value, or its first token (the pooler of DINOv2)."""
    return normed.equal(value) or (normed.dim() == 3 and normed[:, 0].equal(value))


def _is_normed(module: nn.Module, value: Tensor, state: str, *, one_plus: bool) -> None:
    """Behind the gain and the bias: mean 0 and variance 1, or root mean square 1, over the axes of the state."""
    channel = -3 if "(-3)" in state else -1
    gain, bias = module.weight + one_plus, getattr(module, "bias", torch.zeros(()))
    assert isinstance(gain, Tensor)
    assert isinstance(bias, Tensor)
    plain = ((value.movedim(channel, -1) - bias) / gain).detach()
    size = plain.square().mean(-1)
    torch.testing.assert_close(size, torch.ones_like(size), rtol=0.02, atol=0)
    if not state.startswith("rms"):
        torch.testing.assert_close(plain.mean(-1), torch.zeros_like(size), rtol=0, atol=1e-4)


def _states() -> Iterator[str]:
    for family in families():
        found = card(config_of(family).to_dict())
        yield from {site.norm for site in found.sites.values()} | set(found.norms.values())


def test_norm_states_are_spelled_as_the_analysis_prints_them() -> None:
    trained = {"trained": True, "shifted": True}
    known = {State("ln", (-1,), **trained), State("ln", (-3,), **trained),
                          State("rms", (-1,), trained=True), State("bounded"), STREAM}  # fmt: skip
    assert set(_states()) - {""} == {str(state) for state in known}
    assert str(RAW) == "raw"


@pytest.mark.parametrize("family", ["gpt2", "llama", "vit", "dinov2", "convnext"])
def test_a_stream_is_what_came_before_and_what_its_branches_gave(family: str) -> None:
    config = config_of(family)
    found = card(config.to_dict())
    model = model_of(config)
    seen = Seen(model, inputs_of(found, SIZES[0]), **found.call)
    for name, site in found.sites.items():
        if site.norm == "stream":
            branches = [
                seen[found.sites[part].path] for part in (f"{name}_attention", f"{name}_mlp") if part in found.sites
            ]
            if family == "convnext":
                scale = model.get_submodule(site.path).layer_scale_parameter
                branches = [(branches[0] * scale).movedim(-1, 1)]
            torch.testing.assert_close(seen[site.path], seen.entered[site.path] + sum(branches))


@pytest.mark.parametrize("layer", ["basic", "bottleneck"])
@pytest.mark.parametrize("first", [False, True])
def test_both_layers_of_a_resnet_and_a_first_stage_that_halves_have_their_sizes(layer: str, first: bool) -> None:
    config = config_of("resnet", layer_type=layer, downsample_in_first_stage=first)
    found = card(config.to_dict())
    assert found.inputs == {"pixel_values": "image [batch 2 32*h 32*w]" if first else "image [batch 2 16*h 16*w]"}
    seen = Seen(model_of(config), inputs_of(found, SIZES[0]))
    assert [tuple(seen[site.path].shape) for site in found.sites.values()] == [
        sizes_of(site.type, SIZES[0]) for site in found.sites.values()
    ]


@pytest.mark.parametrize("family", ["bert", "vit"])
def test_a_host_without_its_pooling_layer_says_so(family: str) -> None:
    config = config_of(family)
    found = card(config.to_dict() | {"add_pooling_layer": False})
    seen = Seen(model_of(config, add_pooling_layer=False), inputs_of(found, SIZES[0]))
    assert (
        list(found.outputs) == ["last_hidden_state"] == [name for name, value in seen.out.items() if value is not None]
    )


@pytest.mark.parametrize("family", families())
def test_what_stands_under_host_is_all_that_its_card_needs(family: str) -> None:
    config = config_of(family)
    kept = assembler.host(config)
    assert kept == host(json.loads(config.to_json_string(use_diff=False)))
    assert json.loads(json.dumps(kept)) == kept  # plain data, as a recipe holds it
    assert card(kept) == card(config.to_dict())
    for key in kept:
        without = {name: value for name, value in kept.items() if name != key}
        with pytest.raises(HostError) as caught:
            card(without)
        assert caught.value.key == key
        assert str(caught.value) == f"the configuration has no `{key}`, which hosts of this family need"


def test_a_host_is_short() -> None:
    assert assembler.host(config_of("llama")) == {
        "model_type": "llama",
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "vocab_size": 49,
    }


BAD = [
    ({"model_type": "berd"}, "model_type", "no host card for 'berd'; did you mean `bert`? (there are bert, camembert, convnext"),
    ({"model_type": ["bert"]}, "model_type", "no host card for ['bert'] (there are"),
    ({"model_type": "x" * 5000}, "model_type", "no host card for 'xxxx"),
    ({"hidden_size": True}, "hidden_size", "`hidden_size` is a whole number from 1 to 2,147,483,647, and this is True"),
    ({"hidden_size": 0}, "hidden_size", "and this is 0"),
    ({"hidden_size": 15.0}, "hidden_size", "and this is 15.0"),
    ({"hidden_size": "15"}, "hidden_size", "and this is '15'"),
    ({"vocab_size": 1 << 31}, "vocab_size", "and this is 2147483648"),
    ({"num_hidden_layers": 10**9}, "num_hidden_layers", "`num_hidden_layers` is a whole number from 1 to 1,024, and this is 1000000000"),
    ({"add_pooling_layer": "no"}, "add_pooling_layer", "`add_pooling_layer` is true or false, and this is 'no'"),
]  # fmt: skip
BAD_IMAGES = [
    ("vit", {"patch_size": 13}, "patch_size", "`patch_size` (13, 13) is larger than the image, (12, 20)"),
    ("vit", {"image_size": [1, 2, 3]}, "image_size", "`image_size` is one size, or two, and this is [1, 2, 3]"),
    ("resnet", {"hidden_sizes": []}, "hidden_sizes", "`hidden_sizes` is a list of sizes, one for each stage, 16 at the most, and this is []"),
    ("resnet", {"depths": [1, 2]}, "depths", "`depths` is one number for each of the 3 stages in `hidden_sizes`, 1,024 layers in all, and this is [1, 2]"),
    ("resnet", {"depths": [1024, 1, 1]}, "depths", "1,024 layers in all"),
    ("resnet", {"hidden_sizes": [1] * 10**6}, "hidden_sizes", "16 at the most, and this is [1, 1, 1"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "key", "text"), BAD)
def test_a_wrong_configuration_is_an_error_that_names_its_key(change: dict[str, Any], key: str, text: str) -> None:
    _refused(assembler.host(config_of("bert")) | change, key, text)


@pytest.mark.parametrize(("family", "change", "key", "text"), BAD_IMAGES)
def test_a_wrong_configuration_of_images_is_an_error_that_names_its_key(
    family: str, change: dict[str, Any], key: str, text: str
) -> None:
    _refused(assembler.host(config_of(family)) | change, key, text)


def _refused(config: dict[str, Any], key: str, text: str) -> None:
    with pytest.raises(HostError) as caught:
        card(config)
    assert caught.value.key == key
    assert text in str(caught.value)
    assert len(str(caught.value)) < 400


PAGE = (Path(__file__).parents[2] / "docs" / "hosts.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
def test_a_recipe_of_the_page(text: str) -> None:
    (bad if MARK.search(text) else good)(text)


def test_the_page_names_every_family_and_what_its_layers_give() -> None:
    lines = [line for line in PAGE.splitlines() if line.startswith("| `") and "model_type" not in line]
    names = [[re.findall(r"`(.+?)`", cell) for cell in line.strip("|").split("|")] for line in lines]
    assert sorted(name for row in names for name in row[0]) == families()
    for row in names:
        for family in row[0]:
            found = card(config_of(family).to_dict())
            sites = [name for name in found.sites if re.fullmatch(r"h0(_.*)?", name)]
            assert row[1:] == [list(found.inputs), sites, [found.sites["h0"].norm.partition(" ")[0] or "raw"]]
