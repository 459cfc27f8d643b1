"""Every way to break a recipe, and the verdict that each must get."""

from __future__ import annotations

import random

from tests.fuzz.breaking import Broken, Operator, Site
from tests.fuzz.faults_graph import GRAPH
from tests.fuzz.faults_mixed import MIXED
from tests.fuzz.faults_names import NAMES
from tests.fuzz.faults_types import TYPES
from tests.fuzz.generate import Sample, generate
from tests.fuzz.oracle import Disagreement, check_text

OPERATORS: tuple[Operator, ...] = (*NAMES, *GRAPH, *TYPES, *MIXED)
FIRST = 3
"""The intended code and line stand among so many findings from the top."""


def broken(seed: int) -> tuple[Operator, Sample, Broken]:
    """The sample of a seed with one fault. Operators take turns; where one does not apply, the next does."""
    sample = generate(seed)
    for turn in range(len(OPERATORS)):
        operator = OPERATORS[(seed + turn) % len(OPERATORS)]
        found = operator.apply(Site(sample, random.Random(seed)))
        if found is not None:
            return operator, sample, found
    raise AssertionError("some operator applies to every sample")


def judge_faulty(seed: int) -> Disagreement | None:
    """None if the fault is found: the intended code, on an intended line, among the first three; and nothing else."""
    operator, _, found = broken(seed)
    if operator.nature == "run" and (found.real is None or not _raises(found)):
        return Disagreement(seed, f"{operator.name}: torch does not mind", found.text)
    try:
        report = check_text(found.text, found.overrides)
    except Exception as error:
        return Disagreement(seed, f"{operator.name}: check raised {type(error).__name__}", f"{error}\n{found.text}")
    first = [(item.code, item.span.line) for item in report.diagnostics[:FIRST]]
    if report.ok:
        return Disagreement(
            seed, f"{operator.name}: accepted", f"wanted {operator.codes} at {sorted(found.lines)}\n{found.text}"
        )
    if not any(code in operator.codes and line in found.lines for code, line in first):
        said = "\n".join(
            f"{item.code} at line {item.span.line}: {item.message}" for item in report.diagnostics[: FIRST + 3]
        )
        return Disagreement(
            seed,
            f"{operator.name}: not among the first {FIRST}",
            f"wanted {operator.codes} at {sorted(found.lines)}\n{said}\n{found.text}",
        )
    errors = [item for item in report.diagnostics if item.level == "error"]
    more = [item for item in errors if not (item.code in operator.codes and item.span.line in found.lines)]
    if more or len({(item.code, item.message, item.span.line, item.span.column) for item in errors}) < len(errors):
        said = "\n".join(f"{item.code} at line {item.span.line}: {item.message}" for item in more or errors)
        return Disagreement(
            seed, f"{operator.name}: one fault, and more is said", f"at {sorted(found.lines)}\n{said}\n{found.text}"
        )
    return None


def _raises(found: Broken) -> bool:
    assert found.real is not None
    try:
        found.real()
    except (RuntimeError, ValueError, AssertionError, IndexError):
        return True
    return False
