"""`check_kind`: everything that a kind's card claims, measured. Our own kinds are held to the same claims."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from assembler import assemble
from assembler.compiler.build import initialize
from assembler.lab.verify import verify
from assembler.library import registry
from assembler.testing import claims
from assembler.testing.built import Built, call, dim_size, draw, flat, read_port, use
from assembler.testing.reference import number
from assembler.testing.sample import Sample, Shape
from assembler_schemas.expression import parse_expression
from assembler_schemas.kind import Definition, Expr, Kind, Module, Options
from assembler_schemas.shape import parse_port_type

Sizes = Mapping[str, int]
LEADS: tuple[Shape, ...] = ((), (2,), (2, 3))
_CHOICES = ((4, 6, 10, 8, 12, 14, 16), (3, 5, 7, 9, 11, 13, 15))
"""Sizes that are tried where none are stated: each open name gets another one."""


class KindError(AssertionError):
    """Claims of a kind that do not hold; `failures` has a line for each."""

    def __init__(self, name: str, failures: Sequence[str]) -> None:
        super().__init__("\n".join([f"`{name}`: {len(failures)} of its claims do not hold", *(f"  {item}" for item in failures)]))
        self.failures = tuple(failures)


def check_kind(
    kind: str | Kind | type, *, sizes: Sizes | Sequence[Sizes] = (), options: Mapping[str, Any] | Sequence[Mapping[str, Any]] = (),
    leads: Sequence[Shape] = LEADS, compiled: bool = True,
) -> tuple[str, ...]:  # fmt: skip
    """Hold a kind to its card, and to what recipes do with any kind. Returns what was held, a line each.

    `kind`: its name, its card, or the class that was declared. `sizes`: for the names that its ports
    leave open, `{"in": 8, "heads": 2}`, one mapping or several; without it two of our own choice.
    `options`: as a recipe states them, one mapping or several. `leads`: axes put in front of ports with
    `...`. `compiled`: also under `torch.compile` (its graph, not its code) and `torch.export`.

    KindError lists every claim that does not hold. ValueError where the sizes do not fit the card.
    """
    card = _card(kind)
    failures: list[str] = []
    held: list[str] = []
    for stated in _several(options):
        for chosen in _several(sizes) if sizes else _choices(card, stated):
            sample = _sample(card, stated, chosen)
            where = f"{_spelled(stated)} at {_spelled(chosen)}"
            for name, claim in _claims(card, sample, stated, leads, compiled):
                with _noted(failures, f"{name}, {where}"), torch.random.fork_rng([]):
                    torch.manual_seed(0)
                    claim()
                held.append(f"{name}, {where}")
    if failures:
        raise KindError(card.name, failures)
    return tuple(held)


def _card(kind: str | Kind | type) -> Kind:
    if isinstance(kind, Kind):
        return kind
    name = kind if isinstance(kind, str) else next((key for key, place in registry.registered().items() if place == f"{kind.__module__}:{kind.__qualname__}"), "")
    card = registry.kind(name)
    if card is None:
        raise ValueError(f"{kind!r} is no kind that this process knows: import what declares it")
    if card.container:
        raise ValueError(f"`{card.name}` is made of parts: what it claims is claimed by them")
    return card


def _several(given: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    return (given,) if isinstance(given, Mapping) else given or ({},)


def _spelled(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in values.items()) or "its defaults"


@contextmanager
def _noted(failures: list[str], what: str) -> Iterator[None]:
    """Whatever goes wrong inside is a failure of that claim."""
    try:
        yield
    except Exception as problem:
        text = " ".join(str(problem).split())
        failures.append(f"{what}: {'' if isinstance(problem, claims.ClaimError) else type(problem).__name__ + ': '}{text[:400]}")


# --- sizes ---
def _open(card: Kind, stated: Mapping[str, Any]) -> tuple[Options, Definition, list[str]]:
    """The definition at options, and the sizes that it leaves open, in the order in which its ports name them."""
    options = card.options.model_validate(dict(stated))
    definition = card.define(options, None) if card.by_rank else card.define(options)
    ports = (*definition.inputs.values(), *definition.outputs.values())
    named = [name.rstrip("#") for port in ports for item in (*parse_port_type(port.type, True).dims, parse_port_type(port.type, True).vocabulary) if item is not None for name in item.names]
    if isinstance(definition.build, Module):
        named += [name for _, value in definition.build.arguments if isinstance(value, Expr) for name in parse_expression(value.text, True).names]
    return options, definition, [name for name in dict.fromkeys(named) if name not in definition.sizes and name not in definition.defaults]


def _choices(card: Kind, stated: Mapping[str, Any]) -> Iterator[Sizes]:
    """Two sets of sizes that the demands of the card allow; ValueError where ours do not do."""
    _, definition, free = _open(card, stated)
    demands = [f"{item.left} {item.relation} {item.right}" for item in definition.requires]
    tried = [[8 * place for place in range(1, len(free) + 1)], [24 * place for place in range(1, len(free) + 1)]] if demands else _CHOICES
    fitting = [found for row in tried if _allowed(definition, found := {name: row[place % len(row)] for place, name in enumerate(free)})]
    if not fitting:
        raise ValueError(f"`{card.name}` demands {', '.join(demands)}: state `sizes`, for example {{{', '.join(f'{name!r}: 8' for name in free)}}}")
    yield from fitting


def _all(definition: Definition, sizes: Sizes) -> dict[str, int]:
    found = {**sizes, **definition.sizes}
    for name, text in definition.defaults.items():
        if name not in found:
            found[name] = number(text, found)
    return found


def _allowed(definition: Definition, sizes: Sizes) -> bool:
    known = _all(definition, sizes)
    rules: dict[str, Callable[[int, int], bool]] = {"multiple_of": lambda a, b: a % b == 0, "at_most": lambda a, b: a <= b, "equal": lambda a, b: a == b}
    return all(rules[item.relation](number(item.left, known), number(item.right, known)) for item in definition.requires)


def _sample(card: Kind, stated: Mapping[str, Any], sizes: Sizes) -> Sample:
    _, definition, free = _open(card, stated)
    missing = [name for name in free if name not in sizes]
    if missing:
        raise ValueError(f"`{card.name}` leaves open {', '.join(f'`{name}`' for name in missing)}: state it in `sizes`")
    if not _allowed(definition, sizes):
        raise ValueError(f"{_spelled(sizes)} is not what `{card.name}` demands of sizes")
    known = _all(definition, sizes)
    shapes: dict[str, Shape | list[Shape]] = {}
    for port, item in definition.inputs.items():
        dims = read_port(item.type).dims
        edges = [tuple(known[dim[:-1]] + edge if dim.endswith("#") else dim_size(dim, known) for dim in dims) for edge in range(2)]
        shapes[port] = edges if item.many else edges[0]
    return Sample(stated, shapes, known)


# --- claims ---
def _claims(card: Kind, sample: Sample, stated: Mapping[str, Any], leads: Sequence[Shape], compiled: bool) -> Iterator[tuple[str, Callable[[], None]]]:
    optional = [port for port, item in use(card, sample).definition.inputs.items() if item.optional]
    bare = Sample(sample.options, {port: shape for port, shape in sample.shapes.items() if port not in optional}, sample.sizes, sample.leads)
    built = use(card, sample)
    yield "names", lambda: claims.names(built)
    yield "state", lambda: claims.state(built)
    yield "starts", lambda: claims.starts(built)
    for lead in leads:
        for given in (sample, bare) if optional else (sample,):
            at = use(card, given, lead)
            spelled = f"behind axes {list(lead)}{' without its optional inputs' * (given is bare)}"
            yield f"outputs {spelled}", lambda at=at: claims.outputs(at)  # type: ignore[misc]
            yield f"gradients {spelled}", lambda at=at: claims.gradients(at)  # type: ignore[misc]
            yield f"inputs kept {spelled}", lambda at=at: claims.inputs_kept(at)  # type: ignore[misc]
            for training in (False, True) if built.definition.body else ():
                yield f"body {spelled}{' in training' * training}", lambda at=at, training=training: claims.body(at, training)  # type: ignore[misc]
    whole = use(card, sample, (2,))
    recipe = _recipe(card, whole, stated)
    yield "predictions in a recipe", lambda: _predicted(recipe)
    yield "the same values under a seed, from meta too", lambda: _seeded(recipe, whole)
    yield "copies and pickles", lambda: _copied(recipe, whole)
    yield "bf16", lambda: _bf16(whole)
    if compiled:
        yield "torch.compile in one graph", lambda: _compiled(recipe, whole)
        yield "torch.export", lambda: _exported(recipe, whole)


def _recipe(card: Kind, built: Built, stated: Mapping[str, Any]) -> dict[str, Any]:
    """One node of the kind between inputs and outputs, every size stated."""
    inputs: dict[str, Any] = {}
    feeds: dict[str, Any] = {}
    for port, item in built.definition.inputs.items():
        shapes = built.shapes[port]
        each = shapes if isinstance(shapes, list) else [shapes]
        text = read_port(item.type)
        kind = item.type.partition("[")[0].strip()
        kind = f"ids({number(text.vocab, built.sizes)})" if text.medium == "ids" and text.vocab else kind
        names = [f"{port}_{place}" if item.many else port for place in range(len(each))]
        for name, shape in zip(names, each, strict=True):
            lead = ("batch",) if text.leads else ()
            inputs[name] = f"{kind} [{' '.join(map(str, (*lead, *shape[len(lead):])))}]".strip()
        feeds[port] = names if item.many else port
    sizes = {name: built.sizes[name] for name in card.size_options if name in built.sizes and name not in stated}
    node = {"kind": f"{card.name}@{card.version}", **{key: list(value) if isinstance(value, tuple) else value for key, value in stated.items()}, **sizes, **({"from": feeds} if feeds else {})}
    return {"inputs": inputs, "nodes": {"part": node}, "outputs": {port: f"part.{port}" for port in built.definition.outputs}}


def _fed(recipe: Mapping[str, Any], built: Built) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in zip(recipe["inputs"], flat(draw(built)), strict=True)}


def _given(model: Callable[..., Any], values: Mapping[str, Tensor]) -> list[Tensor]:
    torch.manual_seed(11)
    found = model(**values)
    return list(found.values()) if isinstance(found, dict) else [found]


def _same(a: Sequence[Tensor], b: Sequence[Tensor], otherwise: str) -> None:
    claims.holds(all(torch.equal(x, y) for x, y in zip(a, b, strict=True)), otherwise)


def _predicted(recipe: Mapping[str, Any]) -> None:
    """Shapes, parameters, norms, what is zero, gradients and scales are what the analyses read off the card."""
    found = verify(recipe)
    wrong = [f"{row.label} is {row.measured}, predicted {row.predicted}" for row in found.rows if not row.agrees]
    claims.holds(not wrong, "; ".join(wrong[:4]))


def _seeded(recipe: Mapping[str, Any], built: Built) -> None:
    first, values = assemble.build(recipe, seed=3).eval(), _fed(recipe, built)
    known, wanted = dict([*first.named_parameters(), *first.named_buffers()]), _given(first, values)
    for what, model in (("built again", assemble.build(recipe, seed=3)), ("built on meta and then started", initialize(assemble.build(recipe, device="meta"), 3))):
        for key, value in [*model.named_parameters(), *model.named_buffers()]:
            claims.holds(torch.equal(value, known[key]), f"`{key}` differs when it is {what} under the same seed")
        _same(_given(model.eval(), values), wanted, f"it gives something else when it is {what} under the same seed")


def _copied(recipe: Mapping[str, Any], built: Built) -> None:
    model, values = assemble.build(recipe, seed=0).eval(), _fed(recipe, built)
    wanted = _given(model, values)
    _same(_given(copy.deepcopy(model), values), wanted, "a deepcopy gives something else")
    _same(_given(pickle.loads(pickle.dumps(model)), values), wanted, "what was pickled gives something else")  # noqa: S301 - what we have just written
    other = assemble.build(recipe, seed=1).eval()
    other.load_state_dict(model.state_dict())
    _same(_given(other, values), wanted, "another model with its state gives something else")


def _bf16(built: Built) -> None:
    """In half the bits: floats go in, the stated dtype or bfloat16 comes out, finite."""
    module = built.module().eval().to(torch.bfloat16)
    values = {port: [_half(v) for v in value] if isinstance(value, list) else _half(value) for port, value in draw(built).items()}
    for port, value in call(module, built, values).items():
        wanted = read_port(built.definition.outputs[port].type).dtype or torch.bfloat16
        claims.holds(value.dtype == wanted, f"`{port}` is {value.dtype} in a model in bfloat16")
        claims.holds(not value.is_floating_point() or bool(torch.isfinite(value).all()), f"`{port}` is not finite")


def _half(value: Tensor) -> Tensor:
    return value.detach().to(torch.bfloat16) if value.dtype == torch.float32 else value


def _compiled(recipe: Mapping[str, Any], built: Built) -> None:
    model, values = assemble.build(recipe, seed=0).eval(), _fed(recipe, built)
    wanted = _given(model, values)
    torch.compiler.reset()
    found = _given(torch.compile(model, fullgraph=True, backend="aot_eager"), values)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b)


def _exported(recipe: Mapping[str, Any], built: Built) -> None:
    model, values = assemble.build(recipe, seed=0).eval(), _fed(recipe, built)
    program = torch.export.export(model, (), values)
    for a, b in zip(_given(program.module(), values), _given(model, values), strict=True):
        torch.testing.assert_close(a, b)
