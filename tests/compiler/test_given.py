"""Modules that are not ours in built models: how they are called, what is measured of them, what stays as it is."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.utils.checkpoint
import yaml
from torch import Tensor, nn

import assembler
from assembler.assemble import RecipeError
from assembler.lab.verify import verify

torch.set_num_threads(1)
Pair = namedtuple("Pair", ["y", "z"])


@dataclass
class Found:
    z: Tensor
    y: Tensor


class Foreign(nn.Module):
    """Two linear maps with something between; what it gives comes in the `form` asked for."""

    def __init__(self, form: str = "tensor", width: int = 8) -> None:
        super().__init__()
        self.form = form
        self.first = nn.Linear(6, width)
        self.layers = nn.ModuleList([nn.Sequential(nn.Linear(width, width), nn.Tanh()) for _ in range(3)])
        self.last = nn.Linear(width, 5)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor, mask: Tensor | None = None, scale: float = 1.0) -> Any:
        if self.training:
            self.seen += 1
        h = self.first(x) if mask is None else self.first(x) * mask.unsqueeze(-1)
        for layer in self.layers:
            h = h + layer(h)
        y, z = self.last(h) * scale, h
        return {
            "tensor": lambda: y, "tuple": lambda: (y, z), "list": lambda: [y, z], "pair": lambda: Pair(y, z), "dict": lambda: {"z": z, "y": y},
            "ordered": lambda: OrderedDict(z=z, y=y), "dataclass": lambda: Found(z, y),
        }[self.form]()  # fmt: skip


def foreign(form: str = "tensor", seed: int = 0) -> Foreign:
    torch.manual_seed(seed)
    return Foreign(form)


def recipe(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text)
    return found


PLAIN = """
inputs: {words: "[batch seq 6]", keep: "mask [batch seq]"}
nodes:
  host:
    kind: given
    ports: {in: {x: "[batch seq 6]", mask: {type: "mask [batch seq]", optional: true}}, out: {y: "[batch seq 5]"}}
    from: {x: words, mask: keep}
  head: {kind: linear, out: 3, from: host}
outputs: {out: head}
"""
TWO = PLAIN.replace('out: {y: "[batch seq 5]"}', 'out: {y: "[batch seq 5]", z: "[batch seq 8]"}').replace("from: host}", "from: host.z}").replace("{out: head}", "{out: head, y: host.y}")
SITES = """
inputs: {words: "[batch seq 6]", more: "[batch seq 4]"}
nodes:
  before: {kind: linear, out: 8, from: more}
  host:
    kind: given
    ports: {in: {x: "[batch seq 6]"}, out: {y: "[batch seq 5]"}}
    sites: {a: "layers.0 [batch seq 8]", b: "layers.1 [batch seq 8]", c: "layers.2.1 [batch seq 8]"}
    freeze: true
    from: words
  head: {kind: linear, out: 3, from: host}
outputs: {out: head, before: before%s}
grafts: {%s}
"""


def words() -> Tensor:
    return torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(1))


def more() -> Tensor:
    return torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(2))


def keep() -> Tensor:
    return torch.tensor([[True] * 5, [True, True, False, False, False]])


def built(text: str, **given: nn.Module) -> nn.Module:
    return assembler.build(recipe(text), given=given, seed=0).eval()


def with_sites(grafts: str, outputs: str = "", form: str = "tensor") -> tuple[nn.Module, Foreign]:
    host = foreign(form)
    return built(SITES % (outputs, grafts), host=host), host


def shaken(model: nn.Module) -> nn.Module:
    """Every weight that is ours is drawn anew, so that nothing is silent."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, item in model.named_parameters():
            if not name.startswith("host."):
                item.copy_(torch.randn(item.shape, generator=generator) * 0.3)
    return model


# --- calling ---
def test_a_module_is_called_with_its_inputs_by_name_and_keeps_its_keys() -> None:
    host = foreign()
    model = built(PLAIN, host=host)
    assert torch.equal(model(words(), keep()), model.head(host(words(), mask=keep())))
    assert model.host is host
    assert [name for name in model.state_dict() if name.startswith("host.")] == [f"host.{name}" for name in host.state_dict()]
    assert all(item.requires_grad for item in host.parameters())


@pytest.mark.parametrize("form", ["tuple", "list", "pair", "dict", "ordered", "dataclass"])
def test_outputs_are_read_by_name_and_of_a_plain_tuple_by_position(form: str) -> None:
    host = foreign(form)
    found = built(TWO, host=host)(words(), keep())
    wanted = foreign("tuple")(words(), keep())
    assert torch.equal(found["y"], wanted[0])
    model = built(TWO, host=host)
    assert torch.equal(found["out"], model.head(wanted[1]))


def test_what_a_tuple_can_do_is_no_name_of_an_output() -> None:
    model = built(TWO.replace("y: \"", "index: \"").replace("z: \"", "count: \"").replace("host.z", "host.count").replace("host.y", "host.index"), host=foreign("tuple"))
    assert torch.equal(model(words(), keep())["y"], foreign("tuple")(words(), keep())[0])


def test_a_module_on_meta_is_not_filled_with_anything() -> None:
    with torch.device("meta"):
        host = Foreign()
    model = assembler.build(recipe(PLAIN), given={"host": host}, device="meta")
    assembler.initialize(model, 0)
    assert all(item.is_meta for item in host.parameters())
    assert not any(item.is_meta for item in model.head.parameters())


def test_a_transformers_output_is_read_by_name_under_the_compiler_too() -> None:
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    class Given(Foreign):
        def forward(self, x: Tensor, mask: Tensor | None = None, scale: float = 1.0) -> Any:
            y = super().forward(x, mask, scale)
            return BaseModelOutputWithPooling(last_hidden_state=y, pooler_output=y.mean(1))

    text = PLAIN.replace('{y: "[batch seq 5]"}', '{pooler_output: "[batch 5]"}')
    model = built(text, host=Given())
    wanted = model(words(), keep())
    assert wanted.shape == (2, 3)
    torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="aot_eager")(words(), keep()), wanted)


def test_constants_of_the_call_reach_forward() -> None:
    host = foreign()
    model = built(PLAIN.replace("    from: {x", "    call: {scale: 2.5}\n    from: {x"), host=host)
    assert torch.equal(model(words(), keep()), model.head(host(words(), keep(), 2.5)))


def test_neither_seeds_nor_initialize_touch_a_module_that_is_handed_over() -> None:
    host = foreign()
    before = {name: value.clone() for name, value in host.state_dict().items()}
    model = built(PLAIN, host=host)
    head = model.head.weight.clone()
    assembler.initialize(model, 7)
    assert all(torch.equal(value, before[name]) for name, value in host.state_dict().items())
    assert not torch.equal(model.head.weight, head)
    other = assembler.build(recipe(PLAIN), given={"host": foreign(seed=5)}, seed=0)
    assert torch.equal(other.head.weight, head)  # ours start by seed and address, whatever is handed over


def test_a_frozen_module_has_no_gradients_and_hands_them_on() -> None:
    text = PLAIN.replace("from: {x: words", "freeze: true\n    from: {x: pre").replace("  head:", "  pre: {kind: linear, out: 6, from: words}\n  head:")
    model = built(text, host=foreign())
    model(words(), keep()).sum().backward()
    assert not any(item.requires_grad for item in model.host.parameters())
    assert model.pre.weight.grad.abs().sum() > 0


def test_a_plain_module_in_every_way_but_by_its_seed() -> None:
    model = built(PLAIN, host=foreign())
    wanted = model(words(), keep())
    assert torch.equal(copy.deepcopy(model)(words(), keep()), wanted)
    assert torch.equal(pickle.loads(pickle.dumps(model))(words(), keep()), wanted)
    torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="aot_eager")(words(), keep()), wanted)
    assert model.to(torch.bfloat16)(words().bfloat16(), keep()).dtype == torch.bfloat16


def test_ejected_source_runs_with_the_same_module() -> None:
    text = SITES % (", h: host.a", "side: {write: host.b, mode: add, init: zero, part: {kind: mlp, hidden: 4}}")
    names: dict[str, Any] = {"__name__": "ejected"}
    exec(assembler.eject(recipe(text)), names)
    model = built(text, host=foreign())
    other = names["Model"](foreign(), seed=0).eval()
    assert list(other.state_dict()) == list(model.state_dict())
    assert all(torch.equal(one, two) for one, two in zip(model.state_dict().values(), other.state_dict().values(), strict=True))
    mine, theirs = shaken(model)(words(), more()), shaken(other)(words(), more())
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_modules_deep_inside_graphs_are_handed_over_by_their_address() -> None:
    text = """
inputs: {words: "[batch seq 6]"}
nodes:
  tower:
    inputs: {v: "[batch seq 6]"}
    nodes:
      host: {kind: given, ports: {in: {x: "[batch seq 6]"}, out: {y: "[batch seq 5]"}}, sites: {b: "layers.1 [batch seq 8]"}, freeze: true, from: v}
    outputs: {y: host}
    from: words
  other: {kind: given, ports: {in: {x: "[batch seq 6]"}, out: {y: "[batch seq 5]"}}, from: words}
  both: {kind: add, from: [tower, other]}
outputs: {out: both}
grafts: {side: {write: tower.host.b, mode: add, init: zero, part: {kind: linear}}}
"""
    one, two = foreign(seed=1), foreign(seed=2)
    model = assembler.build(recipe(text), given={"tower.host": one, "other": two}, seed=0).eval()
    assert torch.equal(model(words()), one(words()) + two(words()))
    assert model.tower.host is one
    assert "tower.side.weight" in model.state_dict()
    with torch.no_grad():
        model.tower.side.weight.normal_()
    assert not torch.equal(model(words()), one(words()) + two(words()))
    assert torch.equal(pickle.loads(pickle.dumps(model))(words()), model(words()))


def test_same_is_one_more_call_of_one_module_and_like_is_another_one() -> None:
    text = PLAIN.replace("outputs:", "  again: {same: host, from: {x: words}}\n  other: {like: host, from: {x: words}}\n  all: {kind: add, from: [again, other]}\noutputs:").replace("{out: head}", "{out: head, all: all}")
    one, two = foreign(seed=1), foreign(seed=2)
    model = built(text, host=one, other=two)
    assert model.again is model.host
    assert torch.equal(model(words(), keep())["all"], one(words()) + two(words()))


# --- what is handed over ---
@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        (None, ValueError, "`build(recipe, given={'host': module})`; the recipe takes `host`"),
        ({"hots": nn.Identity()}, ValueError, "`host`"),
        ({"host": foreign(), "more": nn.Identity()}, ValueError, "a module is handed over as 'more', and the recipe takes `host`"),
        ({"host": 3}, TypeError, "what is handed over as `host` is a int, not a torch.nn.Module"),
    ],
)
def test_what_is_missing_or_too_much_is_said(given: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        assembler.build(recipe(PLAIN), given=given)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        (('y: "[batch seq 5]"', 'y: "[batch seq 7]"'), "shape-mismatch", "`host.y` is stated as [batch seq 7], and the module gives [2, 3, 5]"),
        (('y: "[batch seq 5]"', 'y: "[seq batch 5]"'), "shape-mismatch", "measured: [batch seq 5]"),
        (('y: "[batch seq 5]"', 'y: "[batch 5]"'), "shape-rank", "`host.y` is stated as [batch 5]"),
        (("x: \"[batch seq 6]\", mask", "inputs: \"[batch seq 6]\", mask"), "port-unknown", "forward of `host`, a Foreign, takes no `inputs`"),
        (("    from: {x", "    call: {scales: 2}\n    from: {x"), "port-unknown", "it takes x, mask, scale"),
    ],
)  # fmt: skip
def test_what_is_measured_is_held_against_what_is_stated(change: tuple[str, str], code: str, text: str) -> None:
    changed = PLAIN.replace(*change)
    if "inputs: \"" in changed:
        changed = changed.replace("from: {x: words", "from: {inputs: words")
    with pytest.raises(RecipeError) as caught:
        built(changed, host=foreign())
    assert [item.code for item in caught.value.report.diagnostics] == [code]
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("sites", "code", "text"),
    [
        ('{a: "layers.0 [batch seq 9]"}', "shape-mismatch", "measured: [batch seq 8]"),
        ('{a: "layers.0 bf16 [batch seq 8]"}', "dtype-mismatch", "`host.a` is torch.bfloat16 in this model, and the module gives torch.float32"),
        ('{a: "layers.7 [batch seq 8]"}', "address-unknown", "there is no module `layers.7`: `layers` has 0, 1, 2"),
        ('{b: "layers.1 [batch seq 8]", a: "layers.0 [batch seq 8]"}', "order-conflict", "sites stand in the order in which they run: a, b"),
        ('{a: "unused [batch seq 8]"}', "graft-place", "comes by its site `a` never"),
        ('{a: "twice [batch seq 6]"}', "graft-place", "comes by its site `a` 2 times"),
        ('{a: "words [batch seq 8]"}', "shape-mismatch", "the site `a` gives a dict"),
    ],
)
def test_sites_are_measured_too(sites: str, code: str, text: str) -> None:
    class Odd(Foreign):
        def __init__(self) -> None:
            super().__init__()
            self.unused, self.twice = nn.Identity(), nn.Identity()
            self.words = Words()

        def forward(self, x: Tensor, mask: Tensor | None = None, scale: float = 1.0) -> Any:
            self.words()
            return super().forward(self.twice(self.twice(x)), mask, scale)

    class Words(nn.Module):
        def forward(self) -> dict[str, int]:
            return {}

    with pytest.raises(RecipeError) as caught:
        built(PLAIN.replace("    from: {x", f"    sites: {sites}\n    from: {{x"), host=Odd())
    assert [item.code for item in caught.value.report.diagnostics] == [code]
    assert text in str(caught.value)


def test_a_module_that_cannot_run_is_said_with_the_shapes_it_was_called_with() -> None:
    with pytest.raises(RecipeError) as caught:
        built(PLAIN.replace("words: \"[batch seq 6]", "words: \"[batch seq 9]").replace('x: "[batch seq 6]', 'x: "[batch seq 9]'), host=foreign())
    assert "cannot run on what its ports state" in str(caught.value)
    assert "x: [2, 3, 9], mask: [2, 3] (batch=2, seq=3)" in str(caught.value)


def test_measuring_leaves_no_trace() -> None:
    host = foreign().train()
    host.layers[0].eval()
    torch.manual_seed(11)
    wanted = torch.rand(3)
    torch.manual_seed(11)
    assembler.build(recipe(PLAIN), given={"host": host}, seed=0)
    assert torch.equal(torch.rand(3), wanted)
    assert host.training
    assert not host.layers[0].training
    assert host.seen == 0
    assert not any(item._forward_hooks for item in host.modules())


# --- sites ---
def test_a_site_can_be_read_without_any_graft() -> None:
    host = foreign()
    model = built(SITES.replace("grafts: {%s}", "").replace("  before: {kind: linear, out: 8, from: more}\n", "").replace(", before: before", "").replace(', more: "[batch seq 4]"', "") % ", a: host.a, c: host.c", host=host)
    found = model(words())
    h = host.first(words())
    h = h + host.layers[0](h)
    h = h + host.layers[1](h)
    assert torch.equal(found["c"], host.layers[2](h))
    assert torch.equal(found["out"], model.head(host(words())))


def test_grafts_read_what_was_before_and_earlier_sites_and_one_another() -> None:
    model, host = with_sites(
        "one: {write: host.a, read: before, mode: add, part: {kind: mlp, hidden: 4}}, two: {write: host.c, read: host.a, mode: gate, part: {kind: linear}}",
        ", a: host.a, two: two",
    )
    shaken(model)
    found = model(words(), more())
    h = host.first(words())
    a = host.layers[0](h) + model.one(model.before(more()))
    h = h + a
    h = h + host.layers[1](h)
    c = host.layers[2](h)
    gate = model.two(a)
    torch.testing.assert_close(found["a"], a)
    torch.testing.assert_close(found["two"], gate)
    torch.testing.assert_close(found["out"], model.head(host.last(h + c * (1 + gate))))


@pytest.mark.parametrize(
    "graft",
    [
        "side: {write: host.b, mode: add, init: zero, part: {kind: mlp, hidden: 4}}",
        "side: {write: host.b, read: host.a, mode: add, init: zero, norm: both, part: {kind: mlp, hidden: 4}}",
        "side: {write: host.b, read: before, mode: blend, init: zero, part: {kind: linear}}",
        "side: {write: host.b, mode: gate, init: zero, scale: learned, part: {kind: linear}}",
        "side: {write: host.b, mode: replace, init: identity, part: {kind: linear, out: 8}}",
        "side: {write: host.b, mode: add, init: zero, scale: learned, part: {kind: sequence, repeat: 2, parts: {f: {kind: linear, out: 8}}}}",
        "side: {write: host.b, mode: add, init: zero, scale: learned, part: {kind: parallel, members: 3, parts: {f: {kind: mlp, hidden: 4}}}}",
        "side: {write: host.b, read: {port: before, adapt: linear}, mode: add, init: zero, part: {kind: mlp, hidden: 4}}",
        "one: {write: host.b, mode: add, init: zero, part: {kind: mlp, hidden: 4}}, two: {write: host.b, mode: add, init: zero, part: {kind: mlp, hidden: 2}}",
        "one: {write: host.a, mode: add, init: zero, part: {kind: mlp, hidden: 4}}, two: {write: host.b, mode: blend, init: zero, part: {kind: mlp, hidden: 2}}",
    ],
)
def test_a_graft_of_any_mode_is_silent_and_then_does_something(graft: str) -> None:
    text = SITES % ("", graft)
    report = assembler.check(recipe(text))
    assert report.ok, str(report)
    assert {item.silent for item in report.certificates} == {"bits"}
    host = foreign()
    model = built(text, host=host)
    assert torch.equal(model(words(), more())["out"], model.head(host(words())))
    shaken(model)
    changed = model(words(), more())["out"]
    assert not torch.equal(changed, model.head(host(words())))
    assert torch.equal(pickle.loads(pickle.dumps(model))(words(), more())["out"], changed)
    assert torch.equal(copy.deepcopy(model)(words(), more())["out"], changed)
    torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="aot_eager")(words(), more())["out"], changed)


NESTED = """
inputs: {words: "[batch seq 6]"}
nodes:
  tower:
    inputs: {v: "[batch seq 6]"}
    nodes: {host: {kind: given, ports: {in: {x: "[batch seq 6]"}, out: {y: "[batch seq 5]"}}, sites: {a: "layers.0 [batch seq 8]", b: "layers.1 [batch seq 8]"}, from: v}}
    grafts: {inner: {write: host.a, mode: add, part: {kind: linear}}}
    outputs: {y: host}
    from: words
  late: {kind: linear, out: 2, from: tower.host.b}
outputs: {y: tower, late: late}
grafts: {outer: {write: tower.host.b, read: words, mode: add, part: {kind: linear, out: 8}}}
"""


def test_grafts_of_a_graph_and_of_the_one_around_it_stand_in_one_module() -> None:
    host = foreign()
    model = assembler.build(recipe(NESTED), given={"tower.host": host}, seed=0).eval()
    found = model(words())
    h = host.first(words())
    a = host.layers[0](h)
    h = h + a + model.tower.inner(a)
    b = host.layers[1](h) + model.tower.outer(words())
    h = h + b
    torch.testing.assert_close(found["late"], model.late(b))
    torch.testing.assert_close(found["y"], host.last(h + host.layers[2](h)))


def test_a_module_may_be_needed_for_a_site_alone() -> None:
    text = SITES.replace("head: {kind: linear, out: 3, from: host}", "head: {kind: linear, out: 3, from: host.a}") % ("", "side: {write: host.a, mode: add, part: {kind: linear}}")
    host = foreign()
    model = built(text, host=host)
    a = host.layers[0](host.first(words()))
    torch.testing.assert_close(model(words(), more())["out"], model.head(a + model.side(a)))


def test_what_replaces_a_site_may_be_an_earlier_one() -> None:
    model, host = with_sites("side: {write: host.b, read: host.a, mode: replace, part: {kind: identity}}")
    h = host.first(words())
    a = host.layers[0](h)
    h = h + a + a
    torch.testing.assert_close(model(words(), more())["out"], model.head(host.last(h + host.layers[2](h))))


def test_a_part_may_be_a_module_that_is_handed_over_too() -> None:
    class Part(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

    part = 'side: {write: host.b, mode: add, part: {kind: given, ports: {in: {x: "[batch seq 8]"}, out: {y: "[batch seq 8]"}}}}'
    host, own = foreign(), Part(8, 8)
    model = built(SITES % ("", part), host=host, side=own)
    h = host.first(words())
    h = h + host.layers[0](h)
    b = host.layers[1](h)
    h = h + b + own(b)
    torch.testing.assert_close(model(words(), more())["out"], model.head(host.last(h + host.layers[2](h))))


@pytest.mark.filterwarnings("ignore")
def test_grafts_inside_are_exported() -> None:
    model, _ = with_sites("side: {write: host.b, read: host.a, mode: add, part: {kind: mlp, hidden: 4}}")
    exported = torch.export.export(model, (words(), more()), strict=True)
    torch.testing.assert_close(exported.module()(words(), more())["out"], model(words(), more())["out"])


def test_a_module_that_runs_in_another_dtype_than_the_model_is_said() -> None:
    text = SITES % ("", "side: {write: host.b, mode: add, part: {kind: mlp, hidden: 4}}")
    with pytest.raises(RecipeError) as caught:
        assembler.build(recipe(text), given={"host": foreign()}, dtype=torch.bfloat16)
    assert "cannot run on what its ports state" in str(caught.value)
    model = assembler.build(recipe(text), given={"host": foreign().to(torch.bfloat16)}, dtype=torch.bfloat16)
    assert model(words().bfloat16(), more().bfloat16())["out"].dtype == torch.bfloat16


def test_a_site_whose_module_gives_a_tuple_is_its_first_tensor() -> None:
    class Both(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, int]:
            return x * 2, 3

    class Host(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.both = Both()

        def forward(self, x: Tensor) -> Tensor:
            y, number = self.both(x)
            assert number == 3
            return y

    text = """
inputs: {x: "[batch 4]"}
nodes: {host: {kind: given, ports: {in: {x: "[batch 4]"}, out: {y: "[batch 4]"}}, sites: {s: "both [batch 4]"}, from: x}}
outputs: {y: host}
grafts: {side: {write: host.s, mode: add, part: {kind: identity}}}
"""
    x = torch.randn(2, 4)
    assert torch.equal(built(text, host=Host())(x), 4 * x)


def test_the_module_alone_computes_what_it_did_and_so_does_a_second_model_on_it() -> None:
    host = foreign()
    wanted = host(words())
    one = shaken(built(SITES % ("", "side: {write: host.b, mode: add, part: {kind: mlp, hidden: 4}}"), host=host))
    two = built(SITES % ("", "side: {write: host.a, mode: add, init: zero, part: {kind: mlp, hidden: 4}}"), host=host)
    assert not torch.equal(one(words(), more())["out"], one.head(wanted))
    assert torch.equal(two(words(), more())["out"], two.head(wanted))
    assert torch.equal(host(words()), wanted)


def test_after_a_forward_that_fails_inside_nothing_is_left_behind() -> None:
    model, host = with_sites("side: {write: host.b, mode: add, init: zero, part: {kind: mlp, hidden: 4}}")
    wanted = model(words(), more())["out"]
    last, host.last = host.last, nn.Linear(3, 5)
    with pytest.raises(RuntimeError):
        model(words(), more())
    host.last = last
    assert torch.equal(model(words(), more())["out"], wanted)


def test_a_site_that_a_forward_leaves_out_is_no_silent_loss() -> None:
    model, host = with_sites("side: {write: host.b, mode: add, init: zero, part: {kind: mlp, hidden: 4}}")
    host.layers = host.layers[:1]
    with pytest.raises(RuntimeError, match="never came by its site `b`"):
        model(words(), more())


class Checkpointed(Foreign):
    """Its layers run again in the backward pass, or without gradients at all."""

    how: Any = None

    def forward(self, x: Tensor) -> Any:
        h = self.first(x).requires_grad_()
        for layer in self.layers:
            if self.how is None:
                with torch.no_grad():
                    h = h + layer(h)
            else:
                h = h + torch.utils.checkpoint.checkpoint(layer, h, use_reentrant=self.how)
        return self.last(h)


@pytest.mark.filterwarnings("ignore:None of the inputs")
@pytest.mark.parametrize("how", [None, True, False])
def test_a_graft_that_could_not_learn_inside_is_never_lost_in_silence(how: bool | None) -> None:
    host = Checkpointed()
    host.how = how
    text = SITES % ("", "side: {write: host.b, mode: add, part: {kind: mlp, hidden: 4}}")
    model = built(text.replace("freeze: true", "freeze: false"), host=host)
    with torch.no_grad():
        model(words(), more())
    if how is False:
        out = model(words(), more())["out"]
        with pytest.raises(torch.utils.checkpoint.CheckpointError):
            out.sum().backward()
    else:
        with pytest.raises(RuntimeError, match="computes its site `b` without gradients"):
            model(words(), more())


def test_a_checkpoint_around_the_whole_model_runs_everything_again() -> None:
    model, _ = with_sites("side: {write: host.b, mode: add, part: {kind: mlp, hidden: 4}}")
    wanted = torch.autograd.grad(model(words(), more())["out"].sum(), model.side.up.weight)[0]
    again = torch.utils.checkpoint.checkpoint(lambda x: model(x, more())["out"], words(), use_reentrant=False)
    assert torch.equal(torch.autograd.grad(again.sum(), model.side.up.weight)[0], wanted)


def test_blocks_of_a_module_that_is_handed_over_are_not_compiled() -> None:
    text = PLAIN.replace("head: {kind: linear, out: 3, from: host}", "stack: {kind: bus, repeat: 2, from: host, parts: {f: {kind: mlp}}}\n  head: {kind: linear, out: 3, from: stack}")
    model = assembler.compile_blocks(built(text, host=foreign()), backend="eager")
    assert all(item._compiled_call_impl is None for item in model.host.modules())
    assert all(item._compiled_call_impl is not None for item in model.stack)


def test_what_is_predicted_around_a_module_is_measured_so() -> None:
    model, _ = with_sites("side: {write: host.b, read: host.a, mode: add, init: zero, part: {kind: mlp, hidden: 4}}")
    found = assembler.verify(model)
    assert [row for row in found.rows if row.agrees is False] == []


@pytest.mark.parametrize("site", ["h0", "h1"])
def test_what_takes_the_place_of_a_site_need_not_read_it(site: str) -> None:
    """The stretch before was taken for unread: the module was measured with the site as an argument, and never written."""
    sites = '{h0: "layers.0 [batch seq 8]", h1: "layers.1 [batch seq 8]"}'
    made = recipe(f"""
inputs: {{x: "[batch seq 6]"}}
nodes:
  host: {{kind: given, ports: {{in: {{x: "[batch seq 6]"}}, out: {{y: "[batch seq 5]"}}}}, sites: {sites}, from: x}}
outputs: {{y: host, side: side}}
grafts: {{side: {{read: x, write: host.{site}, mode: replace, part: {{kind: linear, out: 8}}}}}}
""")
    host, x = foreign(), torch.randn(2, 3, 6)
    model = assembler.build(made, given={"host": host}, seed=0)
    h = host.first(x)
    for name, layer in zip(("h0", "h1", "h2"), host.layers, strict=True):
        h = h + (model.side(x) if name == site else layer(h))
    out = model(x)
    assert torch.equal(out["y"], host.last(h))
    assert torch.equal(out["side"], model.side(x))
    assert verify(model).ok
