"""How a parameter starts, as mean and variance; how large the sizes are that a recipe leaves open."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

from assembler.facts.flow import Flow, Weight
from assembler.facts.model import Facts, Guard
from assembler.facts.scale.signal import Given, Unknown
from assembler.facts.start import UNKNOWN
from assembler_schemas.dim import evaluate, names

BATCH, LENGTH = 8, 64
"""What a run-time size is taken to be where nobody says: the first axis of an input, and any other."""
_OTHERS = (64, 32, 16, 8, 4, 2, 1, 128, 96, 224, 256, 512)


def nominal(facts: Facts, stated: Mapping[str, int]) -> dict[str, int]:
    """A number for every run-time size: what is stated, else 8 samples and lengths of 64, or the first of a row that the guards allow."""
    sizes: dict[str, int] = {}
    for kind in facts.root.inputs.values():
        if kind is not None:
            for index, dim in enumerate(kind.dims):
                for name in sorted(names(dim)):
                    usual = BATCH if index == 0 and not kind.lead and len(kind.dims) > 1 else LENGTH
                    sizes.setdefault(name, stated.get(name, usual))
    for _ in range(2):
        for guard in facts.guards:
            _mend(guard, sizes, stated)
    return sizes


def _mend(guard: Guard, sizes: dict[str, int], stated: Mapping[str, int]) -> None:
    for name in sorted((names(guard.left) | names(guard.right)) - set(stated)):
        before = sizes[name]
        for size in (before, *_OTHERS):
            sizes[name] = size
            if _holds(guard, sizes):
                return
        sizes[name] = before


def _holds(guard: Guard, sizes: Mapping[str, int]) -> bool:
    left, right = evaluate(guard.left, sizes), evaluate(guard.right, sizes)
    if guard.relation == "multiple_of":
        return right > 0 and left % right == 0
    return left <= right if guard.relation == "at_most" else left == right


def givens(flow: Flow, first: int) -> list[Given | Unknown]:
    """Every weight of the flow; weight i is atom first + i where it is used as a value."""
    known = {item.address: item.init for item in flow.weights}
    return [_given(index, first + index, item, known.get(item.init[5:-1], "") if item.init.startswith("copy(") else item.init) for index, item in enumerate(flow.weights)]


def _given(index: int, label: int, weight: Weight, init: str) -> Given | Unknown:
    if not init or init == UNKNOWN or init.startswith("copy("):  # copies in a circle are nobody's
        return Unknown(f"nobody states how `{weight.address}` starts")
    found = _start(init, weight.shape)
    if found is None:
        raise ValueError(f"{weight.address}: how `{init}` starts is not known here")
    return Given(*found[:4], index, label, *found[6:])


@lru_cache(maxsize=4096)
def _start(init: str, shape: tuple[int, ...]) -> Given | None:
    """A parameter that starts so, without its number; None for a start without moments."""
    name, _, rest = init.partition("(")
    if name == "numbers":
        entries = tuple(float(item) for item in rest[:-1].split(","))
        mean = sum(entries) / len(entries)
        return Given(shape, mean, sum(item * item for item in entries) / len(entries) - mean**2, entries=entries)
    value = float(rest[:-1]) if rest else 0.0
    mean, var = 0.0, 0.0
    if name in ("ones", "constant"):
        mean = 1.0 if name == "ones" else value
    elif name == "normal":
        var = value * value
    elif name == "trunc_normal":
        var = _truncated(value)
    elif name == "uniform":
        var = value * value / 3
    elif name == "orthogonal":
        rows = shape[0] if shape else 1
        var = value * value / max(rows, math.prod(shape) // max(1, rows))
    elif name == "eye":
        mean, var = _eye(shape)
    elif name != "zeros":
        return None
    return Given(shape, mean, var, name == "eye", spread=0.8 if name == "uniform" else 2.0)


def _truncated(s: float) -> float:
    """Variance of N(0, s^2) between -2 and 2, as `trunc_normal_` cuts it."""
    if s <= 0:
        return 0.0
    a = 2 / s
    if a > 30:
        return s * s
    inside = math.erf(a / math.sqrt(2))
    return s * s * (1 - 2 * a * math.exp(-a * a / 2) / math.sqrt(2 * math.pi) / inside)


def _eye(shape: tuple[int, ...]) -> tuple[float, float]:
    """A kernel of Dirac's is read as entries of its mean and variance; a matrix is known to be the identity."""
    if len(shape) < 2:
        return 1.0, 0.0
    ones = min(shape[0], shape[1])
    return 0.0, ones / math.prod(shape)
