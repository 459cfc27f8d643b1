"""`assembler run`: build a recipe, run it forward and backward, compare with what was predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from assembler import assemble
from assembler.lab.inputs import InputError, given
from assembler.lab.rows import table
from assembler.lab.verify import Verification, verify

MANY = {
    "edge": "edges", "key": "keys of state_dict", "gradient": "gradients", "start": "starts of parameters", "zero": "zeros",
    "silent": "values behind silent grafts", "step": "first steps of learning", "q": "second moments of values", "g": "second moments of gradients",
}  # fmt: skip
SHOWN = 20


def run(path: str, overrides: Sequence[str], sizes: Mapping[str, int], inputs: str | None, seed: int) -> tuple[list[str], bool]:
    """What was predicted against what is measured, as lines, and whether all of it agrees.

    `sizes`: run-time sizes of generated inputs. `inputs`: a safetensors file with a tensor for each
    input instead. InputError where they do not fit the recipe.
    """
    recipe = assemble.load(path, overrides)
    batch = given(inputs, assemble.checked(recipe)[1]) if inputs else None
    try:
        found = verify(recipe, batch, seed, sizes=sizes)
    except (RuntimeError, TypeError, ValueError) as problem:
        if isinstance(problem, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(problem):
            raise InputError("the model at these sizes takes more memory than there is: ask for smaller ones, `--size NAME=N`") from problem
        if not inputs or isinstance(problem, (assemble.RecipeError, InputError)):
            raise
        raise InputError(f"{inputs} does not fit: {str(problem).splitlines()[0]}") from problem
    return lines(found), found.ok


def lines(found: Verification) -> list[str]:
    """Inputs, counts and outputs one by one; of all others how many agree, and each that does not."""
    text = table([row for row in found.rows if row.what not in MANY])
    for what, name in MANY.items():
        agree, every = found.counts(what)
        if every or what in ("edge", "key", "gradient"):
            text.append(f"{agree} of {every} {name} as predicted")
    wrong = [row for row in found.rows if row.what in MANY and not row.agrees]
    text += [f"  {line}" for line in table(wrong[:SHOWN])]
    if len(wrong) > SHOWN:
        text.append(f"  ... and {len(wrong) - SHOWN} more")
    return [*text, found.verdict]


__all__ = ["InputError", "run"]
