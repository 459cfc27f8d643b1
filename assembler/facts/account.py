"""What is known of each node, as text that can be compared: its options in effect, types, norms and starts.

A lock holds these, and a diff compares them. Whatever a recipe does not say is here as it was found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from assembler.facts.flow import Use
from assembler.facts.roles import settings
from assembler.facts.signals import Signals
from assembler_schemas.kind import Branch, Expr

Texts = tuple[tuple[str, str], ...]
"""Name -> text."""


class Account(NamedTuple):
    """One use of a kind. Two that are equal are the same in all that is predicted of them."""

    kind: str
    version: int
    options: Texts
    """In effect: sizes as they were solved, defaults included; and what each graft inside it does (`q.lora`)."""
    open: tuple[tuple[str, int | str], ...]
    """The sizes among them that the recipe leaves open; a text where it is a run-time size."""
    types: Texts
    """Port -> type, of inputs (`x`, or `x[1]` of a port with many edges) and outputs."""
    norms: Texts
    """Output -> norm state."""
    zeros: tuple[str, ...]
    """Outputs that are zero at the start."""
    starts: Texts
    """Own weight -> how it starts."""
    learns: Texts
    """Own parameter -> `step 0`, `never`, `frozen`, or `cancels` where its gradient is rounding noise."""
    adapter: str
    cause: str


def accounts(known: Signals) -> dict[str, Account]:
    """Address with the numbers of copies -> its account; of several uses at one address the first one's.

    A weight stands in the account of the node that owns it.
    """
    plain: dict[tuple[int, int], Account] = {}
    """Without what the flow says, which all leaves that are alike share."""
    words: dict[int, tuple[str, Any]] = {}
    found: dict[str, Account] = {}
    for use in known.flow.uses:
        if use.address in found:
            continue
        key = id(use.node), id(use.facts)
        if key not in plain:
            plain[key] = _plain(use)
        norms = tuple([(port, _state(known, value, words)) for port, value in use.outputs.items()])
        zeros = tuple([port for port, value in use.outputs.items() if known.zero.zero(value)])
        starts, learns = _weights(known, use) if use.weights else ((), ())
        found[use.address] = plain[key]._replace(norms=norms, zeros=zeros, starts=starts, learns=learns)
    return found


def _plain(use: Use) -> Account:
    node, facts = use.node, use.facts
    effect = settings(node, facts)
    options = tuple((name, shown(value)) for name, value in effect.items()) + tuple(map(_inside, use.definition.branches))
    free = [name for name in effect if name in node.kind.size_options and name not in node.spans and name in facts.sizes]
    sizes = tuple((name, size if isinstance(size := facts.sizes[name], int) else str(size)) for name in free)
    types = [(port if len(kinds) == 1 else f"{port}[{place}]", str(kind)) for port, kinds in facts.inputs.items() for place, kind in enumerate(kinds)]
    types += [(port, str(kind)) for port, kind in facts.outputs.items()]
    return Account(node.kind.name, node.kind.version, options, sizes, tuple(types), (), (), (), (), node.adapter, node.cause)


def _inside(branch: Branch) -> tuple[str, str]:
    """`add 2.0 of x: LowRank(in, out, rank=2)`: all of a graft inside that is neither a type nor a weight."""
    reads = f"{branch.reads} after others" if branch.after else branch.reads
    parts = [f"{module.name}({', '.join(_argument(*item) for item in module.arguments)})" for _, module in branch.modules]
    return f"{branch.place}.{branch.name}", f"{branch.mode} {branch.scale} of {reads}: {' '.join(parts)}"


def _argument(name: str, value: Any) -> str:
    text = value.text if isinstance(value, Expr) else shown(value)
    return f"{name}={text}" if name else text


def _state(known: Signals, value: int, words: dict[int, tuple[str, Any]]) -> str:
    state = known.norm.states[value]
    if id(state) not in words:
        words[id(state)] = str(state), state
    return words[id(state)][0]


def _weights(known: Signals, use: Use) -> tuple[Texts, Texts]:
    starts, learns = [], []
    for name, number in use.weights.items():
        weight = known.flow.weights[number]
        if weight.address != f"{use.address}.{name}":
            continue
        starts.append((name, weight.init))
        if weight.buffer:
            continue
        step = known.zero.steps[number]
        learns.append((name, "frozen" if not weight.trainable else "cancels" if number in known.zero.noise else "never" if step is None else f"step {step}"))
    return tuple(starts), tuple(learns)


def shown(value: Any) -> str:
    """An option as a recipe spells it."""
    if type(value) in (str, int, float):
        return str(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {shown(item)}" for key, item in value.items()) + "}"
    return str(value)


# --- copies that are alike ---
K = TypeVar("K", bound=Hashable)


def folded(items: Iterable[tuple[str, K]], every: Iterable[str]) -> list[tuple[str, K, int]]:
    """(address, what is said of it, how many it stands for): like copies together, as `encoder.*.think` and `encoder.2:4.think`.

    `every`: all addresses that there are, which decide what `*` means. The order is that of the items.
    """
    numbers: dict[str, set[int]] = defaultdict(set)
    """Address above a copy number -> the numbers there."""
    depth = 0
    for address in every:
        parts = address.split(".")
        at = [place for place, part in enumerate(parts) if part.isdigit()]
        depth = max(depth, len(at))
        for place in at:
            numbers[".".join(parts[:place])].add(int(parts[place]))
    rows = [(address.split("."), what, 1) for address, what in items]
    for level in range(depth - 1, -1, -1):
        rows = _level(rows, level, numbers)
    return [(".".join(parts), what, count) for parts, what, count in rows]


def _level(rows: Sequence[tuple[list[str], K, int]], level: int, numbers: Mapping[str, set[int]]) -> list[tuple[list[str], K, int]]:
    """Rows whose copy numbers at one level (0: the outermost) are the only difference, as one row each."""
    groups: dict[Hashable, list[tuple[int, int]]] = {}
    for row, (parts, what, count) in enumerate(rows):
        places = [place for place, part in enumerate(parts) if _numbers(part)]
        if level >= len(places):
            groups[row] = [(0, row)]
            continue
        at = places[level]
        groups.setdefault((tuple(parts[:at]), tuple(parts[at + 1 :]), what, count), []).append((int(parts[at]), row))
    made: dict[int, tuple[list[str], K, int]] = {}
    for key, members in groups.items():
        if isinstance(key, int):
            made[key] = rows[key]
            continue
        members.sort()
        parts, what, count = rows[members[0][1]]
        at = [place for place, part in enumerate(parts) if _numbers(part)][level]
        found = [number for number, _ in members]
        whole = len(found) > 1 and set(found) == numbers.get(".".join(parts[:at]))
        for start, stop in [(found[0], found[-1] + 1)] if whole else _ranges(found):
            text = "*" if whole else f"{start}:{stop}" if stop - start > 1 else str(start)
            inside = [row for number, row in members if start <= number < stop]
            made[min(inside)] = ([*parts[:at], text, *parts[at + 1 :]], what, count * len(inside))
    return [made[row] for row in sorted(made)]


def _numbers(part: str) -> bool:
    return part == "*" or part[0].isdigit()


def _ranges(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Sorted numbers as ranges, the end exclusive."""
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][1] == number:
            found[-1][1] = number + 1
        else:
            found.append([number, number + 1])
    return [(start, stop) for start, stop in found]

