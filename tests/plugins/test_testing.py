"""The public battery: what it holds a kind to, and that it finds every sort of false claim."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import assembler
from assembler.testing import KindError, check_kind, synthetic
from assembler_schemas.kind import Parameter, step

torch.set_num_threads(1)
MATMUL = [step("y", "matmul", "x", "map.weight", spec="...i,oi->...o")]
UNIFORM = {"map.weight": Parameter(("out", "in"), "uniform(1/sqrt(in))", writes=True)}


class Mapped(nn.Module):
    def __init__(self, in_: int, out: int) -> None:
        super().__init__()
        self.map = nn.Linear(in_, out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.map(x)


def declared(cls: type[nn.Module], **said: Any) -> type[nn.Module]:
    made: type[nn.Module] = assembler.kind("x: [... in] -> y: [... out]", name="tested", **said)(cls)
    return made


@pytest.mark.parametrize(
    ("kind", "sizes", "options"),
    [
        ("linear", {"in": 6, "out": 5}, {"bias": False}),
        ("mlp", (), {"activation": "relu", "dropout": 0.3}),
        ("layer_norm", (), {}),
        ("concat", (), {}),
        ("attention", {"in": 8, "out": 8, "seq": 3, "heads": 2}, {"heads": 2}),
        ("embedding", {"vocab": 11, "out": 4}, {}),
    ],
)
def test_our_own_kinds_hold_what_is_asked_of_others(kind: str, sizes: Any, options: Any) -> None:
    held = check_kind(kind, sizes=sizes, options=options, leads=((2,),))
    assert {item.partition(",")[0].partition(" behind")[0] for item in held} == {
        "names", "state", "starts", "outputs", "gradients", "inputs kept", "body", "predictions in a recipe",
        "the same values under a seed", "copies and pickles", "bf16", "torch.compile in one graph", "torch.export",
    }  # fmt: skip


def test_a_kind_that_keeps_its_claims_is_held_by_name_card_and_class() -> None:
    cls = declared(Mapped, parameters=UNIFORM, body=MATMUL)
    once = check_kind("tested", compiled=False)
    assert check_kind(cls, compiled=False) == once
    assert sum("body behind axes" in item for item in once) == 2 * 3 * 2


def _failures(cls: type[nn.Module], **said: Any) -> str:
    declared(cls, **said)
    with pytest.raises(KindError) as found:
        check_kind("tested", sizes={"in": 6, "out": 5}, leads=((2,),), compiled=said.get("body") is None)
    return str(found.value)


class Wide(Mapped):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.map(x)] * 2, -1)


class Double(Mapped):
    def forward(self, x: Tensor) -> Tensor:
        return self.map(x).double()


class Writing(Mapped):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x += 1.0
        return self.map(x)


class Dead(Mapped):
    def __init__(self, in_: int, out: int) -> None:
        super().__init__(in_, out)
        self.spare = nn.Linear(in_, out)


class Branching(Mapped):
    def forward(self, x: Tensor) -> Tensor:
        return self.map(x) if float(x.sum()) > 0 else self.map(-x)


class Single(Mapped):
    def forward(self, x: Tensor) -> Tensor:
        return self.map(x.float())


class Loose(Mapped):
    def __init__(self, in_: int, out: int) -> None:
        super().__init__(in_, out)
        self.table = torch.randn(in_)

    def forward(self, x: Tensor) -> Tensor:
        return self.map(x * self.table)


@pytest.mark.parametrize(
    ("cls", "said", "failure"),
    [
        (Wide, {}, "`y` is [2, 10] where `[... out]` means [2, 5]"),
        (Double, {}, "`y` is torch.float64 where `[... out]` means torch.float32"),
        (Writing, {}, "it writes to what it is given"),
        (Dead, {}, "`spare.weight` receives no gradient"),
        (Branching, {}, "torch.compile in one graph"),
        (Single, {}, "bf16"),
        (Loose, {}, "from meta too"),
        (Mapped, {"parameters": {"map.weight": "in out"}}, "`map.weight` is [5, 6] where the card says [6, 5]"),
        (Mapped, {"parameters": {}}, "its state has map.weight where the card lists nothing"),
        (Mapped, {"parameters": {"map.weight": Parameter(("out", "in"), "normal(0.02)")}}, "`map.weight` does not start as normal(0.02)"),
        (Mapped, {"parameters": UNIFORM, "body": [*MATMUL[:0], step("h", "matmul", "x", "map.weight", spec="...i,oi->...o"), step("y", "pointwise", "h", fn="relu")]}, "Tensor-likes are not close"),
    ],
)  # fmt: skip
def test_every_sort_of_false_claim_is_found(cls: type[nn.Module], said: dict[str, Any], failure: str) -> None:
    assert failure in _failures(cls, **said)


def test_sizes_that_a_card_demands_are_asked_for() -> None:
    declared(Mapped, requires="in == 7*out")
    with pytest.raises(ValueError, match=r"`tested` demands in equal 7\*out: state `sizes`, for example \{'in': 8, 'out': 8\}"):
        check_kind("tested")
    assert check_kind("tested", sizes={"in": 14, "out": 2}, leads=((),), compiled=False)
    with pytest.raises(ValueError, match="is not what `tested` demands"):
        check_kind("tested", sizes={"in": 13, "out": 2})
    with pytest.raises(ValueError, match="leaves open `out`"):
        check_kind("tested", sizes={"in": 14})


@pytest.mark.parametrize("kind", ["nothing", "sequence", Mapped])
def test_what_is_no_kind_of_its_own_is_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"no kind that this process knows|made of parts"):
        check_kind(kind)


# --- synthetic ---
def test_a_synthetic_module_gives_what_its_ports_say_and_records_what_it_got() -> None:
    module = synthetic("x: [... seq d], ids: optional ids(50) [... seq] -> y: [... seq 2*d], p: probs [... out], cost: loss scalar []", out=3)
    x, ids = torch.randn(2, 5, 4, requires_grad=True), torch.zeros(2, 5, dtype=torch.int64)
    y, p, cost = module(x, ids=ids)
    assert [tuple(item.shape) for item in (y, p, cost)] == [(2, 5, 8), (2, 3), ()]
    torch.testing.assert_close(p.sum(-1), torch.ones(2))
    (y.sum() + cost).backward()
    assert x.grad is not None
    assert x.grad.ne(0).all()
    module(x)
    assert [list(item) for item in module.calls] == [["x", "ids"], ["x"]]
    assert module.calls[0]["ids"] is ids


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ((torch.zeros(2, 4),), r"`x` is \[2, 4\]"),
        ((torch.zeros(2, 3, 4, dtype=torch.int64),), "`x` is torch.int64"),
        ((torch.zeros(2, 3, 5), torch.zeros(2, 3, 4)), "`z` has 4 for `d`, which is 5"),
    ],
)
def test_a_synthetic_module_refuses_what_its_ports_do_not_take(values: tuple[Tensor, ...], why: str) -> None:
    ports = "x: [batch seq d], z: optional [batch seq d] -> y: [batch d]"
    with pytest.raises(ValueError, match=why):
        synthetic(ports)(*values)


def test_a_synthetic_module_says_what_nobody_feeds() -> None:
    with pytest.raises(TypeError, match="nothing feeds `z`"):
        synthetic("x: [... d], z: [... d] -> y: [... d]")(torch.zeros(2))
    with pytest.raises(ValueError, match=r"no input says what `out` is: `synthetic\(\.\.\., out=8\)`"):
        synthetic("x: [... d] -> y: [... out]")(torch.zeros(2))


def test_a_synthetic_module_stands_in_for_one_that_is_handed_over() -> None:
    host = synthetic("x: [batch 6] -> y: [batch 4]")
    recipe = {"inputs": {"x": "[batch 6]"}, "nodes": {"host": {"kind": "given", "ports": {"in": {"x": "[batch 6]"}, "out": {"y": "[batch 4]"}}, "from": {"x": "x"}}}, "outputs": {"y": "host"}}
    model = assembler.build(recipe, given={"host": host})
    before = len(host.calls)
    x = torch.randn(3, 6)
    assert model(x).shape == (3, 4)
    assert [torch.equal(item["x"], x) for item in host.calls[before:]] == [True]
