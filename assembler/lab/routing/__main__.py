"""`python -m assembler.lab.routing RECIPE [KEY=VALUE ...]`: build a recipe and probe its mixtures. Exit code 1 if one is ill."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from assembler import assemble
from assembler.facts.model import Facts
from assembler.lab.inputs import InputError, generated, given, sizes_of
from assembler.lab.routing.report import ENOUGH, Report, report

ROWS, BATCHES = 1024, 64
"""Rows of generated inputs at least; batches at most."""


def main(words: Sequence[str] | None = None) -> int:
    """0: nothing is wrong, 1: a mixture is ill or the recipe does not check, 2: it cannot be measured."""
    parser = argparse.ArgumentParser("python -m assembler.lab.routing", description=__doc__)
    parser.add_argument("recipe", metavar="RECIPE")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="safetensors of a trained model; without it only what is bad from the start is judged",
    )
    parser.add_argument(
        "--inputs", metavar="FILE", help="safetensors with a tensor for each input; without it inputs are drawn"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="the numbers as one JSON object")
    asked = parser.parse_args(words)
    try:
        found = probe(asked.recipe, asked.overrides, asked.weights, asked.inputs, asked.seed)
    except assemble.RecipeError as problem:
        print(problem, end="")
        return 1
    except (InputError, ValueError) as problem:
        print(f"routing: {problem}", file=sys.stderr)
        return 2
    print(found.to_json() if asked.json else found)
    return 0 if found.healthy else 1


def probe(
    path: str, overrides: Sequence[str] = (), weights: str | None = None, inputs: str | None = None, seed: int = 0
) -> Report:
    """The report of a recipe, with the weights and inputs of files or with fresh ones.

    Of fresh weights, and on drawn inputs, what training brings is measured, but not judged. InputError, ValueError or RecipeError where it cannot be had.
    """
    recipe = assemble.load(path, overrides)
    _, facts = assemble.checked(recipe)
    model = assemble.build(recipe, seed=seed)
    if weights:
        _load(model, weights)
    if inputs:
        batches: list[Any] = [given(inputs, facts)]
    else:
        batches = _drawn(model, facts, seed)
    return report(model, batches, trained=bool(weights and inputs), seed=seed)


def _drawn(model: nn.Module, facts: Facts, seed: int) -> list[Any]:
    """Generated inputs with so many rows for each mixture that its load can be judged: one larger batch, or more of them."""
    one = generated(facts, {}, seed)
    found = report(model, one, trained=False).mixtures
    short = max(
        max(ROWS, 2 * ENOUGH * mixture.experts / mixture.top_k) / mixture.rows for mixture in found if mixture.rows
    )
    sizes, _ = sizes_of(facts, one)
    if "batch" in sizes:
        try:
            return [generated(facts, {"batch": math.ceil(sizes["batch"] * short)}, seed)]
        except InputError:
            pass  # something else of the recipe holds the batch
    return [one, *(generated(facts, {}, seed + number) for number in range(1, min(BATCHES, math.ceil(short))))]


def _load(model: nn.Module, path: str) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    try:
        load_model(model, path)
    except (SafetensorError, OSError, RuntimeError) as problem:
        raise InputError(f"{path} cannot be loaded: {str(problem).splitlines()[0]}") from problem


if __name__ == "__main__":
    torch.set_num_threads(1)
    raise SystemExit(main())


__all__ = ["main", "probe"]
