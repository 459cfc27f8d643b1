"""`same`, `tie`, `freeze` and `share`, at every distance, against what plain PyTorch gives."""

from __future__ import annotations

import pytest
import torch

from assembler.compiler.build import build
from assembler.compiler.emit import emit
from assembler.compiler.model import PlanError
from assembler.compiler.share import Copies, Pending, assignment, rest_of, target_of
from tests.compiler.made import plan_of

torch.set_num_threads(1)


def test_the_same_module_stands_under_both_names() -> None:
    made = plan_of("{name: m, inputs: {x: '[b 4]'}, nodes: {a: {kind: linear, out: 4, from: x}, b: {same: a, from: a}}, outputs: {y: b}}")
    model = build(made, seed=1)
    assert model.a is model.b
    assert set(model.state_dict()) == {"a.weight", "a.bias", "b.weight", "b.bias"}
    assert made.parameters == 20
    x = torch.randn(2, 4)
    assert torch.equal(model(x), model.a(model.a(x)))


def test_the_lowest_container_that_sees_both_shares_them() -> None:
    made = plan_of(
        "{name: m, inputs: {x: '[b 4]'}, nodes: {one: {kind: sequence, from: x, parts: {a: {kind: linear, out: 4}}},"
        " two: {kind: sequence, repeat: 3, from: one, parts: {n: {kind: layer_norm}, b: {same: one.a}}}}, outputs: {y: two}}"
    )
    text = emit(made)
    assert "for copy in self.two:\n                copy.b = self.one.a" in text
    model = build(made, seed=1)
    assert all(block.b is model.one.a for block in model.two)
    assert made.parameters == sum(p.numel() for p in model.parameters())
    assert model(torch.zeros(2, 4)).shape == (2, 4)


def test_a_shared_group_is_one_class_and_one_module() -> None:
    made = plan_of(
        "{name: m, inputs: {x: '[b 4]', z: '[b 4]'}, nodes: {one: {kind: sequence, from: x, parts: {a: {kind: linear, out: 4}, g: {kind: activation}}},"
        " two: {same: one, from: z}, sum: {kind: add, from: [one, two, one.a]}}, outputs: {y: sum}}"
    )
    model = build(made, seed=1)
    x, z = torch.randn(2, 4), torch.randn(2, 4)
    assert model.one is model.two
    gelu = torch.nn.functional.gelu
    a = model.one.a
    assert torch.allclose(model(x, z), gelu(a(x)) + gelu(a(z)) + a(x))


def test_inside_one_copy_the_copy_itself_is_meant() -> None:
    made = plan_of(
        "{name: m, inputs: {x: '[b 4]'}, nodes: {s: {kind: sequence, repeat: 2, from: x, parts: {a: {kind: linear, out: 4}, b: {same: a}}}}, outputs: {y: s}}"
    )
    model = build(made, seed=1)
    assert model.s[0].a is model.s[0].b
    assert model.s[0].a is not model.s[1].a
    assert made.parameters == 40


def test_a_language_model_ties_its_head_to_its_table() -> None:
    made = plan_of(
        "{name: m, inputs: {ids: 'ids(50) [b s]'}, nodes: {embed: {kind: embedding, out: 8, from: ids},"
        " head: {kind: linear, out: 50, bias: false, from: embed, tie: {weight: embed.weight}}}, outputs: {y: head}}"
    )
    model = build(made, seed=1)
    assert model.head.weight is model.embed.weight
    assert made.parameters == 400
    model(torch.randint(0, 50, (2, 3))).sum().backward()
    assert model.embed.weight.grad is not None
    assert 0.9 < model.embed.weight.detach().std() < 1.1, "it starts as the table does, not as a linear map"


def test_what_is_frozen_has_no_gradient_and_all_else_does() -> None:
    made = plan_of(
        "{name: m, inputs: {x: '[b 4]'}, nodes: {a: {kind: linear, out: 4, freeze: true, repeat: 2, from: x},"
        " s: {kind: sequence, freeze: true, from: a, parts: {l: {kind: linear, out: 4}, n: {kind: layer_norm}}},"
        " h: {kind: linear, out: 4, from: s}}, outputs: {y: h}}"
    )
    model = build(made, seed=1)
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["h.weight", "h.bias"]
    assert "        self.requires_grad_(False)\n" in emit(made)


def test_copies_are_told_apart_in_targets() -> None:
    here = ("encoder", Copies(0, 4, 4))
    assert rest_of(target_of("encoder.*.a"), here) == ("a",)
    assert rest_of(target_of("encoder.2.a"), here) is None
    assert rest_of(target_of("encoder.2.a"), ("encoder", Copies(2, 3, 4))) == ("a",)
    assert rest_of(target_of("encoder.0:2.a"), ("encoder", Copies(0, 2, 4))) == ("a",)
    assert rest_of(target_of("encoder.0:2.a"), ("encoder", Copies(2, 4, 4))) is None
    nested = Pending(("s", Copies(1, 3, 3), "t", Copies(0, 2, 2), "b"), target_of("a"))
    assert assignment(nested, ("a",)) == ["for copy in self.s[1:]:", "    for copy_2 in copy.t:", "        copy_2.b = self.a"]
    with pytest.raises(PlanError):
        assignment(Pending(("b",), target_of("s.*.a")), target_of("s.*.a"))


COPIES = "enc: {kind: bus, repeat: 3, from: x, parts: {a: {kind: attention, heads: 2}, f: {kind: mlp}}}"


@pytest.mark.parametrize(("address", "index"), [("enc.0.a", 0), ("enc.1.a", 1), ("enc.-1.a", 2)])
def test_from_outside_the_number_of_the_copy_is_kept(address: str, index: int) -> None:
    made = plan_of(f"{{name: m, inputs: {{x: '[b s 4]'}}, nodes: {{{COPIES}, o: {{same: {address}, from: enc}}}}, outputs: {{y: o}}}}")
    model = build(made, seed=1)
    assert [model.o is block.a for block in model.enc] == [place == index for place in range(3)]
    assert made.parameters == sum(p.numel() for p in model.parameters())


def test_from_inside_other_copies_the_number_of_the_copy_is_kept() -> None:
    made = plan_of(
        "{name: m, inputs: {x: '[b s 4]'}, nodes: {enc: {kind: bus, repeat: 3, from: x, parts: {a: {kind: linear}}},"
        " dec: {kind: bus, repeat: 2, from: enc, parts: {b: {same: enc.1.a}, c: {same: dec.0.d}, d: {kind: linear}}}}, outputs: {y: dec}}"
    )
    model = build(made, seed=1)
    assert all(block.b is model.enc[1].a for block in model.dec)
    assert all(block.c is model.dec[0].d for block in model.dec)
    assert made.parameters == sum(p.numel() for p in model.parameters())


def test_a_tie_to_one_copy_is_to_that_copy() -> None:
    made = plan_of(
        "{name: m, inputs: {x: '[b s 4]'}, nodes: {enc: {kind: bus, repeat: 3, from: x, parts: {l: {kind: linear},"
        " k: {kind: linear, tie: {weight: l.weight}}}}, o: {kind: linear, out: 4, from: enc, tie: {weight: enc.2.l.weight}},"
        " p: {kind: linear, repeat: 2, out: 4, from: o, tie: {weight: enc.0.l.weight}}}, outputs: {y: p}}"
    )
    model = build(made, seed=1)
    assert model.o.weight is model.enc[2].l.weight
    assert all(layer.weight is model.enc[0].l.weight for layer in model.p)
    assert all(block.k.weight is block.l.weight for block in model.enc)
    assert made.parameters == sum(p.numel() for p in model.parameters())


def test_copies_that_share_have_no_number() -> None:
    made = plan_of(
        "{name: m, inputs: {x: '[b s 4]'}, nodes: {enc: {kind: bus, repeat: 2, share: true, from: x, parts: {l: {kind: linear}}},"
        " o: {same: enc.1.l, from: enc}, p: {same: enc, repeat: 2, share: true, from: o}}, outputs: {y: p}}"
    )
    model = build(made, seed=1)
    assert model.o is model.enc.l
    assert model.p is model.enc
    assert set(dict(model.named_parameters())) == {"enc.l.weight", "enc.l.bias"}


def test_a_container_that_nobody_calls_only_holds_what_is_shared() -> None:
    made = plan_of(
        "{name: m, inputs: {x: '[b s 4]'}, nodes: {st: {kind: sequence, from: x, parts: {a: {kind: linear, out: 4, repeat: 2}}}, o: {same: st.a.1, from: x}}, outputs: {y: o}}"
    )
    model, x = build(made, seed=1), torch.randn(2, 3, 4)
    assert torch.equal(model(x), model.st.a[1](x))
