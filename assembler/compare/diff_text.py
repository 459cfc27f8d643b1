"""A diff as text, as Markdown (for a comment on a pull request) and as data."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from assembler.compare.diff import Diff, Sizes
from assembler.compare.nodes import Aspect, Node, old_name
from assembler.facts.account import folded
from assembler.facts.weights import Held, shape_text

VERSION = 1
MAX_ASPECTS = 6
"""Of one node, as text; JSON holds all."""
MAX_WEIGHTS = 500
_SIGNS = {"new": "+", "gone": "-", "changed": "~", "moved": ">"}

Clean = Callable[[str], str]


# --- text ---
def text(found: Diff, weights: bool = False) -> Iterator[str]:
    """Line by line; a single one where nothing differs."""
    yield f"{found.before} -> {found.after}"
    if found.same:
        yield "the same"
        return
    for title, lines in _parts(found, weights):
        yield f"\n{title}"
        yield from lines


def _parts(found: Diff, weights: bool) -> Iterator[tuple[str, Sequence[str]]]:
    if found.ports:
        yield "inputs and outputs", [f"  {item.name}: {_change(item)}" for item in found.ports]
    if found.nodes:
        yield f"nodes: {_counted(found.nodes)}", [line for node in found.nodes for line in _node(node)]
    if found.grafts:
        yield "grafts", [f"  {item.name}: {_change(item)}" for item in found.grafts]
    yield "size", list(_size(*found.sizes))
    yield "weights", [*(f"  {line}" for line in _weights(found)), *(f"  {line}" for line in (listed(found) if weights else ()))]


def _change(item: Aspect) -> str:
    if not item.before:
        return f"new, {item.after}"
    return f"{item.before} -> {item.after}" if item.after else f"gone, was {item.before}"


def _counted(nodes: Sequence[Node]) -> str:
    count: Counter[str] = Counter()
    for node in nodes:
        count[node.sort] += node.copies
    return ", ".join(f"{count[sort]} {sort}" for sort in ("moved", "gone", "new", "changed") if count[sort])


def _node(node: Node) -> Iterator[str]:
    copies = f" ({node.copies})" if node.copies > 1 else ""
    words = [node.kind] if node.kind else []
    words += [f"adapter, {node.adapter}"] * bool(node.adapter) + [f"{node.parameters:+,} parameters"] * bool(node.parameters)
    if node.sort == "moved":
        words = [f"was {node.was}"]
    yield f"  {_SIGNS[node.sort]} {node.address}{copies}  {', '.join(words)}"
    for item in node.aspects[:MAX_ASPECTS]:
        yield f"      {item.name}: {_plain_change(item)}"
    if len(node.aspects) > MAX_ASPECTS:
        yield f"      and {len(node.aspects) - MAX_ASPECTS} more"


def _plain_change(item: Aspect) -> str:
    return f"{item.before or 'none'} -> {item.after or 'none'}"


def _size(before: Sizes, after: Sizes) -> Iterator[str]:
    rows = [("parameters", before.parameters, after.parameters), ("trainable", before.trainable, after.trainable)]
    if (before.active, after.active) != (None, None):
        rows.append(("active", before.parameters if before.active is None else before.active, after.parameters if after.active is None else after.active))
    for name, one, two in rows:
        more = f" ({two - one:+,})" if one is not None and two is not None else ""
        yield f"  {name}: {_number(one)}" if one == two else f"  {name}: {_number(one)} -> {_number(two)}{more}"
    if before.flops or after.flops:
        yield f"  flops: {before.flops}" if before.flops == after.flops else f"  flops: {before.flops or 'not known'} -> {after.flops or 'not known'}"


def _number(count: int | None) -> str:
    return "not known" if count is None else f"{count:,}"


def _weights(found: Diff) -> Iterator[str]:
    held = found.weights
    kept, changed = held.survey.kept, held.survey.changed
    yield _amount("kept", [one for one, _ in kept], held.before) + (f", {held.moved} of them under another key" if held.moved else "")
    for noun, items, sizes in (
        ("of another shape", [item.after for item in changed if item.before.kind == item.after.kind], held.after),
        ("of another kind", [item.after for item in changed if item.before.kind != item.after.kind], held.after),
        ("new", list(held.survey.new), held.after),
        ("dropped", list(held.survey.dropped), held.before),
    ):
        if items:
            yield _amount(noun, items, sizes)


def _amount(noun: str, items: Sequence[Held], sizes: Any) -> str:
    return f"{len(items)} {noun}, {sum(sizes.get(item.key, 0) for item in items) / 1e6:,.2f} MB"


def listed(found: Diff) -> Iterator[str]:
    """Every weight that is not kept as it was, like copies together."""
    survey = found.weights.survey
    rows = [(two.key, f"> {{}}, was {old_name(one.key, two.key)}") for one, two in survey.kept if one.key != two.key]
    rows += [(item.after.key, f"~ {{}} {item.why}") for item in survey.changed]
    rows += [(item.key, f"+ {{}} {shape_text(item.shape)}") for item in survey.new]
    every = [two.key for _, two in survey.kept] + [item.after.key for item in survey.changed] + [item.key for item in survey.new]
    lines = [what.format(key) for key, what, _ in folded(rows, every)]
    before = [one.key for one, _ in survey.kept] + [item.before.key for item in survey.changed] + [item.key for item in survey.dropped]
    lines += [what.format(key) for key, what, _ in folded([(item.key, f"- {{}} {shape_text(item.shape)}") for item in survey.dropped], before)]
    yield from lines[:MAX_WEIGHTS]
    if len(lines) > MAX_WEIGHTS:
        yield f"and {len(lines) - MAX_WEIGHTS} more"


# --- Markdown ---
def markdown(found: Diff, weights: bool = False) -> Iterator[str]:
    """GitHub's dialect. What a recipe says stands in code spans, in which nothing is markup."""
    yield f"### {_code(found.before)} → {_code(found.after)}"
    if found.same:
        yield "\nThe same."
        return
    tables: dict[str, list[Sequence[str]]] = defaultdict(list)
    for item in found.ports:
        tables["Inputs and outputs"].append([_code(item.name), _code(item.before), _code(item.after)])
    for node in found.nodes:
        first = _code(node.address) + (f" ({node.copies})" if node.copies > 1 else "")
        number = f"{node.parameters:+,}" if node.parameters else ""
        said = [f"{_code(item.name)}: {_code(item.before or 'none')} → {_code(item.after or 'none')}" for item in node.aspects[:MAX_ASPECTS]]
        said += [f"and {len(node.aspects) - MAX_ASPECTS} more"] * (len(node.aspects) > MAX_ASPECTS)
        said += [f"was {_code(node.was)}"] * bool(node.was) + [f"adapter, {node.adapter}"] * bool(node.adapter)
        tables["Nodes"].append([node.sort, first, _code(node.kind), number, "<br>".join(said)])
    for item in found.grafts:
        tables["Grafts"].append([_code(item.name), _code(item.before), _code(item.after)])
    heads = {"Nodes": ["", "node", "kind", "parameters", "what"]}
    for title, rows in tables.items():
        yield f"\n**{title}**\n"
        yield from _table(heads.get(title, ["", "before", "after"]), rows)
    yield "\n**Size and weights**\n"
    yield from (f"- {line.strip()}" for line in (*_size(*found.sizes), *_weights(found)))
    if weights:
        yield from ("\n```text", *listed(found), "```")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _code(text: str) -> str:
    """A code span: its fence is longer than any run of backticks inside, and `|` would end a cell even there."""
    if not text:
        return ""
    shown = "".join(letter if letter.isprintable() else " " for letter in text).replace("|", "\\|")
    fence = "`" * (max(map(len, re.findall("`+", shown)), default=0) + 1)
    space = " " if shown[0] in "` " or shown[-1] in "` " else ""
    return f"{fence}{space}{shown}{space}{fence}"


# --- data ---
def data(found: Diff) -> dict[str, Any]:
    """Complete, as plain data: version 1."""
    survey = found.weights.survey
    return {
        "version": VERSION,
        "before": found.before,
        "after": found.after,
        "same": found.same,
        "ports": [item._asdict() for item in found.ports],
        "nodes": [{**node._asdict(), "aspects": [item._asdict() for item in node.aspects]} for node in found.nodes],
        "grafts": [item._asdict() for item in found.grafts],
        "size": {"before": found.sizes[0]._asdict(), "after": found.sizes[1]._asdict()},
        "weights": {
            "kept": len(survey.kept),
            "moved": {one.key: two.key for one, two in survey.kept if one.key != two.key},
            "changed": {item.after.key: item.why for item in survey.changed},
            "new": {item.key: list(item.shape) for item in survey.new},
            "dropped": {item.key: list(item.shape) for item in survey.dropped},
            "bytes": {
                "kept": sum(found.weights.before.get(one.key, 0) for one, _ in survey.kept),
                "new": sum(found.weights.after.get(item.key, 0) for item in survey.new),
                "dropped": sum(found.weights.before.get(item.key, 0) for item in survey.dropped),
            },
        },
    }


def to_json(found: Diff) -> str:
    return json.dumps(data(found), ensure_ascii=True, allow_nan=False)
