"""What is asserted once at the model's entry: declared shapes and dtypes, and conditions on run-time sizes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from assembler.compiler.model import Argument, Bind, Check, Entry
from assembler.compiler.names import fresh, variable
from assembler.facts.model import Guard
from assembler_schemas.dim import Dim, Floor, Poly, exact_divide, names, show

_EXACT = {"f64": "torch.float64", "f32": "torch.float32", "bf16": "torch.bfloat16", "f16": "torch.float16",
          "i64": "torch.int64", "i32": "torch.int32", "bool": "torch.bool"}  # fmt: skip
_WORD = re.compile(r"[A-Za-z_]\w*")
_RELATION = {"multiple_of": "a multiple of", "at_most": "at most", "equal": "equal to"}


def entries(arguments: Sequence[Argument], types: Mapping[str, Any], guards: Sequence[Guard]) -> tuple[Entry, ...]:
    """The checks in order: inputs that must be there, those that may be missing, then the guards."""
    bound: dict[str, str] = {}
    taken = {argument.variable for argument in arguments} | {"shape"}
    waiting = list(dict.fromkeys((g.relation, g.left, g.right, g.address, g.about) for g in guards))
    found: list[Entry] = []
    for argument in sorted(arguments, key=lambda item: item.optional):
        here = dict(bound) if argument.optional else bound
        lines = _input(argument, types[argument.name], here, taken) if argument.name in types else []
        if argument.optional:
            ready = [g for g in waiting if _known(g, here) and not _known(g, bound)]
            lines.extend(_guard(guard, here) for guard in ready)
        if lines:
            found.append(Entry(argument.variable, tuple(lines), argument.optional))
    last = [_guard(guard, bound) for guard in waiting if _known(guard, bound)]
    position = sum(not entry.optional for entry in found)
    return _used(found[:position] + ([Entry("", tuple(last))] if last else []) + found[position:])


def _used(found: Sequence[Entry]) -> tuple[Entry, ...]:
    """Without the names that no condition asks for."""
    kept, asked = [], set[str]()
    for entry in reversed(found):
        lines: list[Check | Bind] = []
        for line in reversed(entry.lines):
            if isinstance(line, Check):
                asked.update(_WORD.findall(line.condition), _WORD.findall(line.found))
            elif line.name in asked:
                asked.update(_WORD.findall(line.value))
            else:
                continue
            lines.append(line)
        kept.append(Entry(entry.input, tuple(reversed(lines)), entry.optional))
    return tuple(reversed(kept))


def _known(guard: tuple[str, Dim, Dim, str, str], bound: Mapping[str, str]) -> bool:
    return all(name in bound for side in guard[1:3] for name in names(side))


def _input(argument: Argument, kind: Any, bound: dict[str, str], taken: set[str]) -> list[Check | Bind]:
    """One input against its type; names that are new get bound to their sizes."""
    lines: list[Check | Bind] = _dtype(argument, str(kind.dtype or ""))
    value, dims, lead = argument.variable, kind.dims, bool(kind.lead)
    shape = fresh(f"{value}_shape", taken)
    taken.add(shape)
    lines.append(Bind(shape, f"{value}.shape"))
    relation = ">=" if lead else "=="
    lines.append(Check(f"len({shape}) {relation} {len(dims)}", f"input `{argument.name}` is {argument.type}", shape))
    open_axes = list(range(len(dims)))
    while open_axes:
        ready = [axis for axis in open_axes if _ready(dims[axis], bound)]
        if not ready:
            break
        # One axis at a time: it may bind the name that another one waits for.
        axis = min(ready, key=lambda item: (len(_unbound(dims[item], bound)), _bare(dims[item]) is None, item))
        open_axes.remove(axis)
        at = f"{shape}[{axis - len(dims) if lead else axis}]"
        lines.extend(_axis(argument, axis, dims[axis], at, shape, bound, taken))
    return lines


def _bare(dim: Dim) -> Dim | None:
    """The dim itself where it is a name and nothing else: it binds that name most plainly."""
    return dim if isinstance(dim, Poly) and len(dim.terms) == 1 and show(dim).isidentifier() else None


def _unbound(dim: Dim, bound: Mapping[str, str]) -> list[str]:
    return sorted(name for name in names(dim) if name not in bound)


def _ready(dim: Dim, bound: Mapping[str, str]) -> bool:
    """Whether an axis can be checked now, or gives its one new name a value."""
    new = _unbound(dim, bound)
    return not new or (len(new) == 1 and _linear(dim, new[0]) is not None)


def _linear(dim: Dim, name: str) -> tuple[int, Dim] | None:
    """`dim` as (factor, rest) of factor * name + rest, factor above zero; None where it is not that."""
    if not isinstance(dim, Poly):
        return None
    factor, rest = 0, dim
    for monomial, value in dim.terms.items():
        if monomial == (name,):
            factor = value
            rest = dim - Poly({monomial: value})  # type: ignore[assignment]
        elif any(atom == name or (isinstance(atom, Floor) and name in names(Poly({(atom,): 1}))) for atom in monomial):
            return None
    return (factor, rest) if factor > 0 else None


def _axis(
    argument: Argument, axis: int, dim: Dim, at: str, shape: str, bound: dict[str, str], taken: set[str]
) -> list[Check | Bind]:  # fmt: skip
    says = f"input `{argument.name}`, axis {axis} is {show(dim)}"
    new = _unbound(dim, bound)
    if not new:
        return [Check(f"{at} == {render(dim, bound)}", says, shape)]
    factor, rest = _linear(dim, new[0]) or (1, 0)
    lines: list[Check | Bind] = []
    left = at if rest == 0 else f"({at} - {_operand(render(rest, bound))})"
    if factor > 1:
        lines.append(Check(f"{left} % {factor} == 0", says, shape))
    bound[new[0]] = fresh(variable(new[0]), taken)
    taken.add(bound[new[0]])
    lines.append(Bind(bound[new[0]], f"{left} // {factor}" if factor > 1 else left.removeprefix("(").removesuffix(")") if rest != 0 else left))
    return lines


def _dtype(argument: Argument, dtype: str) -> list[Check | Bind]:
    value = argument.variable
    found = f"{value}.dtype"
    if dtype in _EXACT:
        return [Check(f"{found} == {_EXACT[dtype]}", f"input `{argument.name}` is {_EXACT[dtype]}", found)]
    if dtype == "int":
        return [Check(f"{found} == torch.int64 or {found} == torch.int32", f"input `{argument.name}` is torch.int64 or torch.int32", found)]
    return [Check(f"{value}.is_floating_point()", f"input `{argument.name}` is floating point", found)]


def _guard(guard: tuple[str, Dim, Dim, str, str], bound: Mapping[str, str]) -> Check:
    relation, left, right, address, about = guard
    a, b = render(left, bound), render(right, bound)
    condition = {"multiple_of": f"({a}) % ({b}) == 0", "at_most": f"{a} <= {b}", "equal": f"{a} == {b}"}[relation]
    if relation == "multiple_of" and exact_divide(left, 1) is not None:
        condition = f"{_operand(a)} % {_operand(b)} == 0"
    says = f"{address + ': ' if address else ''}{show(left)} is {_RELATION[relation]} {show(right)}"
    sizes = sorted(names(left) | names(right))
    found = "{" + ", ".join(f'"{name}": {bound[name]}' for name in sizes) + "}"
    return Check(condition, f"{says} ({about})" if about else says, found)


def _operand(text: str) -> str:
    return text if text.isidentifier() or text.isdigit() else f"({text})"


def render(dim: Dim, bound: Mapping[str, str]) -> str:
    """A size as a Python expression over bound names."""
    if isinstance(dim, int):
        return str(dim)
    text = ""
    for monomial, factor in sorted(dim.terms.items(), key=lambda term: (term[1] < 0, -len(term[0]), str(term[0]))):
        words = [bound[a] if isinstance(a, str) else f"(({render(a.argument, bound)}) // {a.divisor})" for a in monomial]
        if abs(factor) != 1 or not words:
            words.insert(0, str(abs(factor)))
        sign = ("-" if factor < 0 else "") if not text else (" - " if factor < 0 else " + ")
        text += sign + " * ".join(words)
    return text
