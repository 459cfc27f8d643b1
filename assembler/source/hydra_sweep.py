"""What Hydra's grammar calls a sweep: how many values it tries, and which."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from hydra.core.override_parser.types import (
    ChoiceSweep,
    Glob,
    IntervalSweep,
    Override,
    QuotedString,
    RangeSweep,
    Sweep,
    Transformer,
)


def sweep_in(value: Any) -> Any:
    """The first sweep that a value is or holds."""
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, (Sweep, Glob)):
            return item
        if isinstance(item, list):
            todo.extend(item)
        elif isinstance(item, dict):
            todo.extend(item.values())
    return None


def count(sweep: Any) -> str:
    """How many values a sweep would try: computed, never expanded."""
    if isinstance(sweep, RangeSweep):
        found = _range_count(sweep)
        return f"{found} values" if found is not None else "values without end"
    if isinstance(sweep, IntervalSweep):
        return "any value of an interval"
    if isinstance(sweep, Glob):
        return "every option that matches a pattern"
    items = [item.text if isinstance(item, QuotedString) else item for item in sweep.list]
    return f"{len(items)} values" if len(items) > 1 else "a shuffled or chosen value"


def _range_count(sweep: RangeSweep) -> int | None:
    """None: without end. Exact, but that Hydra adds up fractions in 28 digits."""
    ends = (sweep.start or 0, sweep.stop or 0, 1 if sweep.step is None else sweep.step)
    if any(isinstance(item, float) and not math.isfinite(item) for item in ends) or not ends[2]:
        return None
    start, stop, step = map(Fraction, ends)
    return max(0, math.ceil((stop - start) / step))


def size(raw: Override, options: Sequence[str]) -> int | None:
    """How many values a sweep tries, computed and not expanded; None for one that names no list of values: an
    interval, a range without end, a sweep inside a value, a list to be shuffled. `options`: of the group that it chooses from.
    """
    sweep: Any = raw._value
    if isinstance(sweep, RangeSweep):
        return _range_count(sweep)
    if isinstance(sweep, Glob):
        return len(sweep.filter(list(options)))
    if not isinstance(sweep, ChoiceSweep) or any(sweep_in(item) is not None for item in sweep.list):
        return None
    return None if sweep.shuffle and len(sweep.list) == 1 else len(sweep.list)


def texts(raw: Override, options: Sequence[str]) -> list[str]:
    """The overrides that a sweep stands for, in its order; what is shuffled stays in the order in which it is written."""
    sweep: Any = raw._value
    items = sweep.range() if isinstance(sweep, RangeSweep) else sweep.filter(list(options)) if isinstance(sweep, Glob) else sweep.list
    return [f"{raw.get_key_element()}={Transformer.str(item)}" for item in items]
