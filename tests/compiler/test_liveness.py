"""A value is dead after its last use: neither eager memory nor a caller's input is held."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from assembler.compiler.build import build
from assembler.compiler.values import Op, settle
from assembler.library.modules import MLP, Attention, LearnedPosition, MeanPool, PatchEmbed
from tests.compiler.made import DIGITS, TAPS, plan_of
from tests.compiler.test_build import run_alone

torch.set_num_threads(1)


class Watch:
    """Weak references to what each module of a model gave, and which of them live when another starts."""

    def __init__(self, model: nn.Module) -> None:
        self.given: dict[str, list[Any]] = {}
        self.alive: dict[str, set[str]] = {}
        for name, module in model.named_modules():
            if name:
                module.register_forward_pre_hook(lambda _, args, name=name: self._start(name))
                module.register_forward_hook(lambda _, args, out, name=name: self._end(name, out))

    def _start(self, name: str) -> None:
        self.alive[name] = {key for key, refs in self.given.items() if any(ref() is not None for ref in refs)}

    def _end(self, name: str, out: Any) -> None:
        outs = out if isinstance(out, tuple) else (out,)
        self.given[name] = [weakref.ref(value) for value in outs]


@torch.no_grad()
def test_in_a_stack_only_what_is_still_read_lives() -> None:
    model = build(plan_of(DIGITS), seed=1)
    watch = Watch(model)
    gc.disable()
    try:
        model(torch.randn(2, 1, 8, 8))
    finally:
        gc.enable()
    # The patches are a view of what `proj` gave.
    assert watch.alive["place"] == {"patches", "patches.proj"}
    assert not {"patches", "patches.proj", "place"} & watch.alive["encoder.1"]
    # In the second half of a block the branch of the first half is gone.
    assert "encoder.2.attend" not in watch.alive["encoder.2.think_pre_norm"]
    assert "encoder.2.attend_pre_norm" not in watch.alive["encoder.2.think"]
    assert not {"encoder.0", "encoder.1", "encoder.2"} & watch.alive["final"]
    assert watch.alive["pool"] == {"final"}


@torch.no_grad()
def test_a_tapped_value_lives_to_its_use_and_no_other_does() -> None:
    model = build(plan_of(TAPS), seed=1)
    watch = Watch(model)
    model(torch.randn(2, 6, 32))
    late = watch.alive["enc.4.think"]
    assert {"stack.1", "stack.3", "enc.0", "enc.2"} <= late
    assert not {"stack.0", "stack.2", "stack.4", "stack.5", "enc.3.attend"} & late


def test_the_callers_input_is_not_held_beyond_its_last_use() -> None:
    """In a fresh process: once dynamo has run, the interpreter itself holds arguments to the end of a call."""
    run_alone(
        f"sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "import torch, weakref\n"
        "from assembler.compiler.build import build\n"
        "from tests.compiler.made import DIGITS, plan_of\n"
        "model, seen = build(plan_of(DIGITS), seed=1), []\n"
        "arguments = [torch.randn(2, 1, 8, 8)]\n"
        "ref = weakref.ref(arguments[0])\n"
        "model.place.register_forward_pre_hook(lambda *_: seen.append(ref() is None))\n"
        "with torch.no_grad():\n"
        "    type(model).forward(model, arguments.pop())\n"
        "assert seen == [True]\n"
    )


def test_no_del_stands_right_before_a_return() -> None:
    steps, returns = settle([Op((2,), (0, " + ", 1), "a")], {0: "x", 1: "y"}, [2], True)
    assert [step.frees for step in steps] == [()]  # type: ignore[union-attr]
    assert returns == ("x",)


def test_what_nobody_reads_is_neither_computed_nor_named() -> None:
    steps, _ = settle([Op((1,), ("f(", 0, ")"), "a"), Op((2,), ("g(", 0, ")"), "b")], {0: "x"}, [2], False)
    assert [step.value for step in steps] == ["g(x)"]  # type: ignore[union-attr]


def test_a_value_that_lives_on_is_not_overwritten_by_the_loop_that_reads_it() -> None:
    made = plan_of(
        "{name: m, inputs: {a: '[b 4]'}, nodes: {s: {kind: linear, out: 4, repeat: 2, from: a}, t: {kind: linear, out: 4,"
        " repeat: 2, from: s}, j: {kind: add, from: [a, s, t]}}, outputs: {y: j}}"
    )
    model = build(made, seed=1)
    a = torch.randn(3, 4)
    s = model.s[1](model.s[0](a))
    t = model.t[1](model.t[0](s))
    assert torch.equal(model(a), a + s + t)


class Peak(TorchDispatchMode):
    """The largest number of bytes that lived at one time, of all that operations made."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(value, torch.Tensor):
                storage = value.untyped_storage()
                self.made[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self.made = {key: item for key, item in self.made.items() if not item[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self.made.values()))
        return out


class _TwinBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attend_pre_norm, self.think_pre_norm = nn.LayerNorm(64), nn.LayerNorm(64)
        self.attend, self.think = Attention(64, 64, heads=4), MLP(64, 256, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attend(self.attend_pre_norm(x))
        return x + self.think(self.think_pre_norm(x))


class _Twin(nn.Module):
    """DIGITS as one would write it by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.place = PatchEmbed(1, 64, patch=2), LearnedPosition(16, 64)
        self.encoder = nn.ModuleList(_TwinBlock() for _ in range(4))
        self.final, self.pool, self.head = nn.LayerNorm(64), MeanPool(), nn.Linear(64, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.place(self.patches(image))
        for block in self.encoder:
            x = block(x)
        return self.head(self.pool(self.final(x)))


def test_peak_memory_is_at_most_that_of_a_handwritten_twin() -> None:
    ours, twin, image = build(plan_of(DIGITS), seed=1), _Twin(), torch.randn(8, 1, 8, 8)
    twin.load_state_dict(ours.state_dict())
    for grad in (False, True):
        peaks = []
        for model in (ours, twin):
            with torch.set_grad_enabled(grad), Peak() as mode:
                out = model(image)
                out = out["logits"] if isinstance(out, dict) else out
                if grad:
                    out.sum().backward()
            peaks.append(mode.peak)
            model.zero_grad()
            del out
        # The zero that `losses` is where there is none: one scalar more.
        assert peaks[0] <= peaks[1] + 4, (grad, peaks)
