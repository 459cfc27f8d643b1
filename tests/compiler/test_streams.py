"""A bus with several streams: what each part reads and writes, held against the same steps by hand."""

from __future__ import annotations

import copy
import pickle
import random
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import assembler

INPUTS = {"words": "[batch seq 8]", "pixels": "[batch patches 12]"}


def recipe(parts: dict[str, Any], **bus: Any) -> dict[str, Any]:
    return {
        "inputs": INPUTS,
        "nodes": {"stack": {"kind": "bus", "from": {"x": "words", "z": "pixels"}, "parts": parts, **bus}},
        "outputs": {"words": "stack", "pixels": "stack.z"},
    }


def drawn(seed: int) -> dict[str, Any]:
    """Random parts on both streams; some of them read the other one."""
    draw = random.Random(seed)
    parts: dict[str, Any] = {}
    for index in range(draw.randint(2, 5)):
        own = draw.choice(("x", "z"))
        part: dict[str, Any] = draw.choice(({"kind": "mlp"}, {"kind": "linear"}, {"kind": "cross_attention", "heads": 2}))
        part = {**part, **({"stream": "z"} if own == "z" else {})}
        if part["kind"] == "cross_attention":
            part["from"] = {"memory": "z" if own == "x" else "x"}
        parts[f"part_{index}"] = part
    parts.setdefault("last", {"kind": "mlp", "stream": "z"})
    parts["first"] = {"kind": "linear"}
    return parts


def by_hand(model: nn.Module, parts: dict[str, Any], streams: dict[str, Tensor], copies: int) -> dict[str, Tensor]:
    for index in range(copies):
        block = model.stack[index] if copies > 1 else model.stack
        for name, part in parts.items():
            own = part.get("stream", "x")
            more = [streams[other] for other in part.get("from", {}).values()]
            norm = getattr(block, f"{name}_pre_norm", nn.Identity())
            streams = {**streams, own: streams[own] + getattr(block, name)(norm(streams[own]), *more)}
    return streams


@pytest.mark.parametrize("seed", range(24))
def test_parts_read_and_write_the_streams_as_they_stand(seed: int) -> None:
    torch.set_num_threads(1)
    parts = drawn(seed)
    copies = 1 + seed % 3
    more: dict[str, Any] = {**({"repeat": copies} if copies > 1 else {}), **({"norm": "pre"} if seed % 2 else {})}
    model = assembler.build(recipe(parts, **more), seed=seed)
    words, pixels = torch.randn(2, 3, 8, requires_grad=True), torch.randn(2, 5, 12, requires_grad=True)
    out = model(words, pixels)
    wanted = by_hand(model, parts, {"x": words, "z": pixels}, copies)
    torch.testing.assert_close(out["words"], wanted["x"], rtol=0, atol=0)
    torch.testing.assert_close(out["pixels"], wanted["z"], rtol=0, atol=0)
    found = torch.autograd.grad(sum(value.sum() for value in out.values()), (words, pixels))
    others = torch.autograd.grad(sum(value.sum() for value in wanted.values()), (words, pixels))
    torch.testing.assert_close(found, others)


TWO = {"read": {"kind": "mlp"}, "look": {"kind": "cross_attention", "heads": 2, "from": {"memory": "z"}}, "see": {"kind": "mlp", "stream": "z"}}


def test_copies_are_one_loop_over_both_streams() -> None:
    text = assembler.eject(recipe(TWO, repeat=5))
    assert text.count("for block in self.stack:") == 1
    model = assembler.build(recipe(TWO, repeat=5), seed=0)
    x, z = torch.randn(2, 3, 8), torch.randn(2, 5, 12)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), torch.compile(model, fullgraph=True, backend="eager")):
        assert torch.equal(other(x, z)["pixels"], model(x, z)["pixels"])


def test_what_was_predicted_is_measured_on_every_stream() -> None:
    found = assembler.verify(recipe(TWO, repeat=3, norm="pre"))
    assert found.ok, str(found)


def test_a_copy_in_the_middle_is_read_on_either_stream() -> None:
    spec = recipe(TWO, repeat=4)
    spec["outputs"] = {"early": "stack.1.z", "late": "stack.-1.z", "words": "stack.0"}
    model = assembler.build(spec, seed=0)
    x, z = torch.randn(2, 3, 8), torch.randn(2, 5, 12)
    out = model(x, z)
    half, whole, one = (by_hand(_first(model, count), TWO, {"x": x, "z": z}, count) for count in (2, 4, 1))
    assert torch.equal(out["early"], half["z"])
    assert torch.equal(out["late"], whole["z"])
    assert torch.equal(out["words"], one["x"])


def _first(model: nn.Module, count: int) -> nn.Module:
    found = nn.Module()
    found.stack = model.stack[:count] if count > 1 else model.stack[0]
    return found


def test_copies_that_do_not_write_a_stream_hand_it_on() -> None:
    spec = recipe({"think": {"kind": "mlp"}, "see": {"kind": "mlp", "stream": "z"}}, repeat=3)
    spec["rules"] = {"first": {"at": "stack.0.see", "set": {"stream": "x"}}}
    model = assembler.build(spec, seed=0)
    x, z = torch.randn(2, 3, 8), torch.randn(2, 5, 12)
    wanted = z
    for index in (1, 2):
        wanted = wanted + model.stack[index].see(wanted)
    assert torch.equal(model(x, z)["pixels"], wanted)


def test_shared_copies_carry_both_streams() -> None:
    model = assembler.build(recipe(TWO, repeat=3, share=True), seed=0)
    x, z = torch.randn(2, 3, 8), torch.randn(2, 5, 12)
    streams = {"x": x, "z": z}
    for _ in range(3):
        streams = by_hand(model, TWO, streams, 1)
    assert torch.equal(model(x, z)["pixels"], streams["z"])


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ({"see": {"kind": "mlp", "stream": "y"}}, "address-unknown"),
        ({"see": {"kind": "mlp", "stream": 3}}, "address-unknown"),
        ({"see": {"kind": "sequence", "parts": {"a": {"kind": "mlp", "stream": "z"}}}}, "place-conflict"),
    ],
)  # fmt: skip
def test_a_stream_that_is_none_is_said(parts: dict[str, Any], code: str) -> None:
    assert code in [item.code for item in assembler.check(recipe(parts)).diagnostics]
