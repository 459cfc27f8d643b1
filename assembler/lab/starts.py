"""Every parameter of a built model against the start that its recipe states.

`zeros ones constant numbers eye copy` are held exactly, `orthogonal` up to rounding. `normal`, `uniform` and
`trunc_normal` are held by their mean, their second moment, their largest element and (where there is
one) their border. Each of these compares a statistic with a bound on how likely it is: Chernoff's for
the moments, exact for the border. The bounds together raise a false alarm for one parameter with a
probability of at most `FALSE_ALARM`, whatever its size; what they see of small parameters is less.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from assembler.facts.flow import Flow
from assembler.facts.start import UNKNOWN

FALSE_ALARM = 1e-9
"""Of one parameter that starts as it should."""
TRIALS = 6
"""Statistics of one parameter, both sides counted."""
ENOUGH = -math.log(FALSE_ALARM / TRIALS)
"""Evidence against a start, as -ln of a bound on its probability, from which it is refused."""
UNCUT = 10.0
"""A normal cut at so many standard deviations is a normal: 1e-23 of it is missing."""


@dataclass(frozen=True, slots=True)
class Started:
    """One parameter, measured."""

    address: str
    start: str
    measured: str
    """What was found, in words and numbers."""
    holds: bool


def measure_starts(model: nn.Module, flow: Flow) -> list[Started]:
    """One row for each weight of the flow, in its order. ValueError for a model on meta: it has no values."""
    tensors = {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers(remove_duplicate=False))}
    rows = []
    with torch.no_grad():
        for weight in flow.weights:
            value = tensors.get(weight.address)
            if value is None:
                rows.append(Started(weight.address, weight.init, "not in the model", False))
            elif value.is_meta:
                raise ValueError(f"`{weight.address}` is on meta: it has no values yet")
            else:
                measured, holds = _hold(value.detach(), weight.init, tensors)
                rows.append(Started(weight.address, weight.init, measured, holds))
    return rows


def _hold(value: Tensor, start: str, tensors: Mapping[str, Tensor]) -> tuple[str, bool]:
    name, bracket, rest = start.partition("(")
    argument = rest[:-1]
    if name == "copy":
        return _equal(value, tensors[argument].detach().to(value.dtype)) if argument in tensors else ("its source is not in the model", False)
    if name == UNKNOWN:
        return "not stated", True
    if not bracket:
        return _equal(value, _EXACT[name](value))
    if name == "numbers":
        return _equal(value, torch.tensor([float(item) for item in argument.split(",")], dtype=torch.float64).to(value))
    number = float(argument)
    if name == "constant":
        return _equal(value, torch.full_like(value, number))
    if name == "orthogonal":
        return _orthogonal(value, number)
    return _drawn(value, name, number)


# --- exact ---
def _eye(value: Tensor) -> Tensor:
    fresh = torch.empty_like(value)
    return nn.init.eye_(fresh) if value.dim() == 2 else nn.init.dirac_(fresh, groups=value.shape[0] // value.shape[1])


_EXACT: Mapping[str, Callable[[Tensor], Tensor]] = {"zeros": torch.zeros_like, "ones": torch.ones_like, "eye": _eye}


def _equal(value: Tensor, wanted: Tensor) -> tuple[str, bool]:
    if value.shape != wanted.shape:
        return f"another shape: {list(value.shape)} against {list(wanted.shape)}", False
    other = int(torch.count_nonzero(value != wanted))
    return (f"{other} of {value.numel()} elements are other" if other else "exactly so", not other)


def _orthogonal(value: Tensor, gain: float) -> tuple[str, bool]:
    """W as the matrix of its rows (kernels flattened): the shorter side is orthogonal, of length `gain`."""
    flat = value.reshape(value.shape[0], -1).double() / gain
    product = flat @ flat.T if flat.shape[0] <= flat.shape[1] else flat.T @ flat
    far = float((product - torch.eye(product.shape[0], dtype=product.dtype, device=product.device)).abs().max())
    # Rounding moves each element by eps/2 of itself, so a product of two unit rows by eps at most;
    # the factorisation itself is good to a few single-precision roundings a row.
    near = 2 * torch.finfo(value.dtype).eps + 1e-5
    return f"products of rows are off by {far:.1e} (at most {near:.1e})", far <= near


# --- drawn ---
@dataclass(frozen=True, slots=True)
class _Moments:
    """Of the elements in units of their start's number."""

    n: int
    mean: float
    square: float
    """The mean of the squares."""
    largest: float
    rounding: float


def _moments(value: Tensor, unit: float) -> _Moments:
    n = value.numel()
    low, high = (float(side) for side in torch.aminmax(value))
    square = float(torch.linalg.vector_norm(value, dtype=torch.float64)) ** 2 / n
    return _Moments(n, float(value.sum(dtype=torch.float64)) / n / unit, square / unit**2, max(-low, high) / unit, float(torch.finfo(value.dtype).eps))


def _drawn(value: Tensor, name: str, number: float) -> tuple[str, bool]:
    if not bool(torch.isfinite(value).all()):
        return "not finite", False
    found = _moments(value, number)
    against = _LAWS[name](found, number)
    shown = f"mean {found.mean * number:.3g}, second moment {found.square * number**2:.3g}, largest {found.largest * number:.3g}"
    wrong = [f"{what} too unlikely" for what, evidence in against.items() if not evidence <= ENOUGH]
    return (", ".join([shown, *wrong]), not wrong)


def _normal(found: _Moments, _: float) -> dict[str, float]:
    """The sum of n squares is chi-square: P(mean square beyond x) <= (x e^(1-x))^(n/2) on either side.

    The mean: 2 e^(-n m²/2). The largest: 2n e^(-t²/2).
    """
    return {"mean": _gauss(found), "second moment": _chi(found), "largest": found.largest**2 * (1 - found.rounding) / 2 - math.log(2 * found.n)}


def _gauss(found: _Moments) -> float:
    """Sub-Gaussian with variance 1: a normal, also cut on both sides, and a uniform on [-1, 1] (Hoeffding 1963).

    Half precision draws on a grid, whose mean is off by up to its step.
    """
    return found.n * float(max(0.0, abs(found.mean) - found.rounding)) ** 2 / 2 - math.log(2)


def _chi(found: _Moments) -> float:
    x = _toward(found.square, 1.0, 2 * found.rounding)
    return math.inf if x <= 0 else found.n / 2 * (x - 1 - math.log(x))


def _uniform(found: _Moments, _: float) -> dict[str, float]:
    """In units of the bound: squares lie in [0, 1] with mean 1/3; all elements below m has probability m^n."""
    inside = found.largest <= 1 + found.rounding
    small = math.inf if found.largest <= 0 else -found.n * math.log(min(1.0, found.largest * (1 + found.rounding)))
    return {"border": 0.0 if inside else math.inf, "mean": _gauss(found), "second moment": _bounded(found, 1 / 3, 1.0), "largest": small}


def _trunc_normal(found: _Moments, std: float) -> dict[str, float]:
    """`torch.nn.init.trunc_normal_`: a normal cut at -2 and 2, whatever its standard deviation."""
    cut = 2 / std
    border = {"border": 0.0 if found.largest <= cut * (1 + found.rounding) else math.inf}
    if cut >= UNCUT:
        return border | _normal(found, std)
    density, inside = math.exp(-cut * cut / 2) / math.sqrt(2 * math.pi), math.erf(cut / math.sqrt(2))
    return border | {"mean": _gauss(found), "second moment": _bounded(found, 1 - 2 * cut * density / inside, cut * cut)}


def _bounded(found: _Moments, mean: float, most: float) -> float:
    """Hoeffding (1963, theorem 1): the mean of n values in [0, most] is off with e^(-n KL) at most."""
    p, x = mean / most, min(1.0, _toward(found.square, mean, 2 * found.rounding) / most)
    one = x * math.log(x / p) if x > 0 else 0.0
    two = (1 - x) * math.log((1 - x) / (1 - p)) if x < 1 else 0.0
    return found.n * (one + two)


def _toward(value: float, expected: float, rounding: float) -> float:
    """What the value may have been before its elements were rounded, nearest to what is expected."""
    low, high = value * (1 - rounding), value * (1 + rounding)
    return min(max(expected, low), high)


_LAWS: Mapping[str, Callable[[_Moments, float], dict[str, float]]] = {"normal": _normal, "uniform": _uniform, "trunc_normal": _trunc_normal}

__all__ = ["FALSE_ALARM", "Started", "measure_starts"]
