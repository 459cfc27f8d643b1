"""What a card claims of the module that is built from it, one function a claim. AssertionError where it does not hold."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from assembler.facts.start import UNKNOWN
from assembler.testing.built import Built, call, draw, flat, fresh, read_port
from assembler.testing.reference import number, run_body
from assembler_schemas.kind import Parameter


class ClaimError(AssertionError):
    """A claim that does not hold."""


def holds(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ClaimError(otherwise)


def outputs(built: Built) -> None:
    """Shapes and dtypes are what the ports say."""
    found = call(built.module(), built, draw(built))
    wanted = built.definition.outputs
    holds(set(found) == set(wanted), f"it gives {', '.join(found)} where the card says {', '.join(wanted)}")
    for port, value in found.items():
        shape, dtype = built.output_shape(port), read_port(wanted[port].type).dtype or torch.float32
        holds(tuple(value.shape) == shape, f"`{port}` is {list(value.shape)} where `{wanted[port].type}` means {list(shape)}")
        holds(value.dtype == dtype, f"`{port}` is {value.dtype} where `{wanted[port].type}` means {dtype}")


def body(built: Built, training: bool) -> None:
    """The body computes what the module computes, forward and backward, and every parameter has a gradient."""
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
        holds(parameter.grad is not None, f"`{key}` receives no gradient")
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


def _backward(values: Mapping[str, Tensor]) -> None:
    """From a fixed random cotangent, so that no error cancels in a sum."""
    generator = torch.Generator().manual_seed(7)
    total = torch.zeros(())
    for value in values.values():
        weight = torch.randn(value.shape, generator=generator)
        total = total + (value.float() * weight).sum()
    if total.requires_grad:
        torch.autograd.backward(total)


def _same_gradient(mine: Tensor, other: Tensor) -> None:
    a = torch.zeros_like(mine) if mine.grad is None else mine.grad
    b = torch.zeros_like(other) if other.grad is None else other.grad
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def gradients(built: Built) -> None:
    """Of a kind without a body: outputs and gradients are finite, and every parameter has one."""
    module, values = built.module().train(), draw(built)
    found = call(module, built, values)
    for port, value in found.items():
        holds(not value.is_floating_point() or bool(torch.isfinite(value).all()), f"`{port}` is not finite")
    _backward(found)
    for key, parameter in module.named_parameters():
        holds(parameter.grad is not None or not parameter.requires_grad, f"`{key}` receives no gradient")
    grads = [value.grad for value in (*module.parameters(), *flat(values)) if value.grad is not None]
    holds(all(bool(torch.isfinite(value).all()) for value in grads), "a gradient is not finite")


def inputs_kept(built: Built) -> None:
    """What comes in is not written to: others read it too."""
    module, values = built.module(), draw(built)
    with torch.no_grad():
        before = [value._version for value in flat(values)]
        call(module, built, values)
    holds(before == [value._version for value in flat(values)], "it writes to what it is given")


def state(built: Built) -> None:
    """The `state_dict` is what the card lists. Nothing is claimed by an opaque kind."""
    if built.definition.opaque:
        return
    module, claimed = built.module(), built.definition.parameters
    found = module.state_dict()
    holds(list(found) == list(claimed), f"its state has {', '.join(found) or 'nothing'} where the card lists {', '.join(claimed) or 'nothing'}")
    for key, parameter in claimed.items():
        shape = tuple(number(size, built.sizes) for size in parameter.shape)
        holds(tuple(found[key].shape) == shape, f"`{key}` is {list(found[key].shape)} where the card says {list(shape)}")
        dtype = torch.int64 if parameter.dtype == "i64" else torch.float32
        holds(found[key].dtype == dtype, f"`{key}` is {found[key].dtype} where the card says {dtype}")
    buffers = {key for key, item in claimed.items() if item.buffer}
    holds({key for key, _ in module.named_buffers()} == buffers, f"its buffers are not {', '.join(sorted(buffers)) or 'none'}")


def starts(built: Built) -> None:
    """Every parameter starts as the card says. Samples are drawn until there are enough to tell a distribution."""
    states: list[dict[str, Tensor]] = []
    for key, parameter in built.definition.parameters.items():
        if parameter.init != UNKNOWN:
            _starts(key, parameter, built, states)


def _starts(key: str, parameter: Parameter, built: Built, states: list[dict[str, Tensor]]) -> None:
    found = re.fullmatch(r"(\w+)(?:\((.*)\))?", parameter.init)
    if found is None:
        raise ClaimError(f"`{key}` starts as {parameter.init!r}, which is no start")
    if found[1] == "numbers":
        each = torch.tensor([float(item) for item in found[2].split(",")], dtype=torch.float64)
        holds(torch.equal(built.module().state_dict()[key], each.float()), f"`{key}` does not start as {parameter.init}")
        return
    form, argument = found[1], float(number(found[2] or "0", built.sizes))
    constants = {"zeros": 0.0, "ones": 1.0, "constant": argument}
    size = math.prod(number(size, built.sizes) for size in parameter.shape)
    draws = 1 if form in constants else min(500, math.ceil(4000 / size))
    states.extend(built.module().state_dict() for _ in range(draws - len(states)))
    x = torch.stack([item[key].flatten() for item in states])
    if form in constants:
        holds(torch.equal(x, torch.full_like(x, constants[form])), f"`{key}` does not start as {parameter.init}")
        return
    x = _without_padding(x, built)
    deviation = {"normal": argument, "uniform": argument / math.sqrt(3)}[form]
    sigma = deviation / math.sqrt(x.numel())
    highest = float(x.abs().max()) / argument
    fits = highest > 2.2 if form == "normal" else 0.97 < highest <= 1.0
    # A deviation is known to sigma/sqrt(2) or better.
    near = abs(float(x.mean())) < 5 * sigma and abs(float(x.std()) - deviation) < 3.5 * sigma
    holds(near and fits, f"`{key}` does not start as {parameter.init}: mean {float(x.mean()):.3g}, deviation {float(x.std()):.3g}, largest {float(x.abs().max()):.3g}")


def _without_padding(x: Tensor, built: Built) -> Tensor:
    """The one row that a table may keep at zero is zero; the others are as the card says."""
    padding = getattr(built.options, "padding", None)
    if built.kind.name != "embedding" or padding is None:
        return x
    rows = x.view(len(x), built.sizes["vocab"], -1)
    holds(not rows[:, padding].any(), "the row of the padding is not zero")
    return torch.cat((rows[:, :padding], rows[:, padding + 1 :]), dim=1)


def names(built: Built) -> None:
    """Every default and size is a name of the card, and a body writes what comes out."""
    definition = built.definition
    holds(set(definition.defaults) <= set(built.sizes), "a default is of no size")
    holds(definition.main in ("", *definition.outputs), f"`{definition.main}` is no output")
    written = {step.output for step in definition.body}
    holds(not definition.body or set(definition.outputs) <= written, "the body does not write every output")
