"""`assembler kinds [NAME]`: the catalogue. `assembler kinds --fits SLOT RECIPE`: what would fill a slot."""

from __future__ import annotations

from assembler.commands.common import (
    FINDINGS,
    OK,
    OVERRIDES,
    UsageError,
    clean,
    exit_code,
    one_recipe,
    parser_of,
    print_report,
)
from assembler.report.terminal import write

MORE = """\
assembler kinds                              every kind with its one line
assembler kinds attention                    its ports, options, defaults, an example
assembler kinds --fits ffn digits.yaml       what fits the slot `ffn`, and what the model then comes to
assembler kinds --fits encoder.ffn m.yaml    a slot of the graph `encoder`

Whatever is listed was put into the recipe, and the recipe checked. Kinds stand there with their default
options; those that are made of parts (bus, moe, ...) have none: give them as a file, slots/NAME/FILE.yaml.
"""


def run(words: list[str]) -> int:
    parser = parser_of("kinds", "The catalogue of kinds, one kind, or what would fill a slot of a recipe.", f"{MORE}\n{OVERRIDES}")
    parser.add_argument("arguments", nargs="*", metavar="NAME|RECIPE|KEY=VALUE", help="a kind; with --fits a recipe and overrides")
    parser.add_argument("--fits", metavar="SLOT", help="which kinds, and which files of the slot's group, fit this slot of RECIPE")
    parser.add_argument("--all", action="store_true", help="with --fits: also what does not fit, and why")
    asked = parser.parse_intermixed_args(words)
    if asked.fits is not None:
        return _fits(asked.fits, *one_recipe("kinds --fits SLOT", asked.arguments), asked.all)
    if asked.all:
        raise UsageError("--all goes with --fits SLOT: without it all kinds are listed anyway")
    if len(asked.arguments) > 1:
        raise UsageError("kinds wants one name, or --fits SLOT RECIPE")
    return _catalogue(asked.arguments[0] if asked.arguments else None)


def _catalogue(name: str | None) -> int:
    from assembler.library import entry_points, registry
    from assembler.report.catalogue import render_kind, render_kinds

    why = entry_points.bring(name) if name is not None else ""
    card = registry.kind(name) if name is not None else None
    if name is not None and card is None:
        near = registry.nearest(name[:64])
        hint = why or (f"did you mean {' or '.join(near)}?" if near else "`assembler kinds` lists them")
        raise UsageError(f"there is no kind `{name[:200]}`: {hint}")
    write(render_kinds() if card is None else render_kind(card))
    return OK


def _fits(slot: str, path: str, overrides: list[str], every: bool) -> int:
    from assembler.assemble import RecipeError, load, no_collection
    from assembler.weights.candidates import candidates
    from assembler.weights.fit import find

    try:
        recipe = load(path, overrides)
    except RecipeError as problem:
        print_report(problem.report)
        return exit_code(problem.report)
    try:
        at = find(recipe, slot)
    except LookupError as problem:
        raise UsageError(str(problem)) from problem
    with no_collection():
        found = list(candidates(recipe, at))
    good, bad = [item for item in found if item.fits], [item for item in found if not item.fits]
    lines = [f"slot `{at.address}` of {recipe.name or path}: {len(good)} of {len(found)} fit", ""]
    wide = max(len(item.override) for item in found)
    if good:
        lines.append(f"  {'':<{wide}}  {'parameters':>15}  {'difference':>15}")
    for item in good:
        difference = "" if item.difference is None else f"{item.difference:+,}"
        lines.append(f"  {item.override:<{wide}}  {item.parameters:>15,}  {difference:>15}{'  (now)' if item.now else ''}{f'  {item.remark}' if item.remark else ''}")
    if every:
        lines += ["", "do not fit", *(f"  {item.override:<{wide}}  {item.remark}" for item in bad)]
    elif bad:
        lines += ["", f"{len(bad)} do not fit (--all says why)"]
    write("\n".join(clean(line) for line in lines))
    return OK if good else FINDINGS
