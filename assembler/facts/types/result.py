"""One node behind its inputs: sizes by default, the kind's demands, the types of what it gives."""

from __future__ import annotations

from assembler.facts.types.found import Condition, Finding, Match, is_open
from assembler.facts.types.signature import Side, Signature
from assembler_schemas.dim import DimLimit, exact_divide, lower_bound, variables
from assembler_schemas.expression import Expression, ExpressionError
from assembler_schemas.shape import Dim, Type


def complete(found: Match, signature: Signature, adapter: bool = False) -> None:
    """Defaults of open sizes, in whatever order they can be worked out. What an adapter gives has
    none: it follows from where it goes."""
    waiting = [item for item in signature.defaults if item[0] not in found.sizes and not (adapter and item[0] == "out")]
    while waiting:
        left = []
        for name, expression in waiting:
            if all(item in found.sizes for item in expression.names):
                value = found.value(expression)
                if value is not None:
                    found.sizes[name] = value
            else:
                left.append((name, expression))
        if len(left) == len(waiting):
            return
        waiting = left


def judge(found: Match, signature: Signature) -> None:
    """The kind's demands: broken ones are findings, those on run-time sizes become conditions."""
    for relation, left, right, about, training in signature.requires:
        one, two = found.value(left), found.value(right)
        if one is None or two is None or is_open(one) or is_open(two):
            continue
        if isinstance(one, int) and isinstance(two, int):
            good = one % two == 0 if relation == "multiple_of" and two else one <= two if relation == "at_most" else one == two
            if not good:
                found.findings.append(Finding("shape-constraint", "", 0, 0, one, two, left.text, None, f"{relation}|{right.text}|{about}"))
        elif not training and not _always(relation, one, two):
            found.conditions.append(Condition(relation, one, two, about))


def _always(relation: str, one: Dim, two: Dim) -> bool:
    if relation == "at_most":
        low = lower_bound(two - one)
        return low is not None and low >= 0
    if relation == "equal":
        return one == two
    return exact_divide(one, two) is not None


def static(found: Match, signature: Signature) -> None:
    """Sizes of parameters are numbers."""
    for name in signature.static:
        value = found.sizes.get(name)
        if value is not None and not isinstance(value, int) and not variables(value):
            found.findings.append(Finding("dim-runtime", "", 0, 0, value, None, name, found.origin.get(name)))


def results(found: Match, signature: Signature) -> None:
    """The types of the outputs; None where something that they need is unknown. Raises DimLimit."""
    for side in signature.outputs:
        dims: list[Dim] = list(found.lead or ()) if side.lead else []
        good = not (side.lead and found.lead is None)
        for pattern in side.dims:
            value: Dim | None
            if isinstance(pattern, int):
                value = pattern
            elif isinstance(pattern, str):
                value = found.sizes.get(pattern)
            else:
                value = _sum(found, pattern) if "#" in pattern.text else _given(found, pattern)
            if value is None:
                good = False
                break
            if isinstance(value, int):
                if value < 1:
                    found.findings.append(Finding("shape-empty", side.port, 0, 0, value, None, "", None, pattern if isinstance(pattern, str) else str(getattr(pattern, "text", pattern))))
                    good = False
                    break
            elif not variables(value):
                low = lower_bound(value)
                if low is None or low < 1:
                    found.conditions.append(Condition("at_most", 1, value, "an axis holds at least one value"))
            dims.append(value)
        dtype = found.dtype if side.type.dtype == "float" else side.type.dtype
        vocabulary = _vocabulary_of(found, side)
        found.outputs[side.port] = Type(side.type.medium, dtype, tuple(dims), found.lead_name if side.lead else "", vocabulary) if good else None


def _given(found: Match, expression: Expression) -> Dim | None:
    """A size of an output. DimLimit where it outgrows what we compute with: nothing else would be said of it."""
    try:
        return expression.evaluate(found.sizes)
    except ExpressionError as error:
        if error.code in ("dim-range", "expression-limit"):
            raise DimLimit("too large" if error.code == "dim-range" else "too complex") from None
        return None


def _sum(found: Match, pattern: Expression) -> Dim | None:
    """`sum(d#)`: the sizes of every edge together."""
    stem = pattern.text.removeprefix("sum(").removesuffix(")")
    values = [found.sizes.get(f"{stem}{i}") for i in range(int(found.sizes.get("n", 0)))]  # type: ignore[arg-type]
    total: Dim = 0
    for value in values:
        if value is None:
            return None
        total = total + value
    return total


def _vocabulary_of(found: Match, side: Side) -> Dim | None:
    if side.vocabulary is None:
        return None
    return found.sizes.get(side.vocabulary) if isinstance(side.vocabulary, str) else side.vocabulary if isinstance(side.vocabulary, int) else found.value(side.vocabulary)
