"""What `assembler show` prints: the tree of nodes, with every port's type and the parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from assembler.facts.model import Facts, Guard, NodeFacts
from assembler.graph.model import Graph, Group, Leaf, Repeat, Scope
from assembler.report.terminal import Style, width_of
from assembler.report.walk import Row, active, total, walk
from assembler_schemas.dim import show
from assembler_schemas.shape import Type

MAX_LINES = 5_000


class _Line(NamedTuple):
    depth: int
    name: str
    kind: str
    ports: str
    parameters: str
    remark: str
    asked: str


MAX_LINE = 100_000


Asked = Callable[[Sequence[Row]], Sequence[str]]
"""For each row what else is asked of it."""


def render_tree(graph: Graph, facts: Facts, depth: int | None = None, style: Style | None = None, asked: Asked | None = None) -> str:
    """One line a node: name, kind, ports, parameters; a repeat's copies are one line (`x12`).

    `depth`: how many levels to open (1: the recipe's own nodes only). Adapters are marked `+`.
    """
    style = style or Style()
    rows = walk(graph, facts)
    lines = _lines(rows, depth, asked(rows) if asked is not None else [""] * len(rows))
    shown = lines[:MAX_LINES]
    wide = max((2 * line.depth + width_of(line.name) for line in shown), default=0)
    kinds = max((width_of(line.kind) for line in shown), default=0)
    text = [_head(graph, rows, style)]
    text += [f"  in   {style.clean(name)}: {style.clean(type_text(kind))}" for name, kind in facts.root.inputs.items()]
    numbers = max((len(line.parameters) for line in shown), default=0)
    for line in shown:
        name = f"{'  ' * line.depth}{line.name}"
        left = style.clean(f"  {name:<{wide}}  {line.kind:<{kinds}}")
        remark = f"  {style.paint(style.clean(line.remark), 'added')}" if line.remark else ""
        more = f"  | {style.clean(line.asked)}" if line.asked else ""
        text.append(f"{left}  {style.paint(f'{line.parameters:>{numbers}}', 'bold')}  {style.clean(line.ports)}{more}{remark}")
    if len(lines) > len(shown):
        text.append(f"  {style.ellipsis} and {len(lines) - len(shown)} more nodes (--depth shows fewer levels)")
    text += [f"  out  {style.clean(name)}: {style.clean(type_text(kind))}" for name, kind in facts.root.outputs.items()]
    text += [f"  at run time  {style.clean(guard_text(guard))}" for guard in facts.guards[:100]]
    return "\n".join(line.rstrip() for line in text) + "\n"


def _head(graph: Graph, rows: list[Row], style: Style) -> str:
    parameters, trainable = total(rows)
    frozen = "" if trainable == parameters else f", {count(trainable)} trainable"
    added = sum(row.adapter for row in rows)
    adapters = f", {added} adapter{'s' if added > 1 else ''}" if added else ""
    about = f"  {style.clean(graph.description, 200)}" if graph.description else ""
    return f"{style.paint(style.clean(graph.name), 'bold')}: {count(parameters)} parameters{_active(rows)}{frozen}{adapters}{about}"


def count(number: int | None) -> str:
    """`202,058`; `?` where a size is unknown."""
    return "?" if number is None else f"{number:,}"


def _active(rows: list[Row]) -> str:
    """`, 12,879,925,248 active`: where a row of the input skips experts."""
    used = active(rows)
    return "" if used is None else f", {count(used)} active"


def summary(graph: Graph, facts: Facts) -> str:
    """`202,058 parameters, 1 adapter`: for the closing line of a report."""
    rows = walk(graph, facts)
    added = sum(row.adapter for row in rows)
    return f"{count(total(rows)[0])} parameters{_active(rows)}" + (f", {added} adapter{'s' if added > 1 else ''}" if added else "")


def _lines(rows: list[Row], depth: int | None, asked: Sequence[str]) -> list[_Line]:
    lines: list[_Line] = []
    shift: list[int] = []
    for row, more in zip(rows, asked, strict=True):
        above = shift[row.parent] if row.parent >= 0 else 0
        parent = rows[row.parent] if row.parent >= 0 else None
        # The only run of a repeat is told on the repeat's own line.
        folded = row.copies is not None and parent is not None and len(parent.children) == 1
        shift.append(above + (1 if folded else 0))
        level = row.depth - above
        if folded or (depth is not None and level >= depth):
            continue
        lines.append(_line(row, rows, level, more))
    return lines


def _line(row: Row, rows: list[Row], level: int, asked: str) -> _Line:
    kind = row.kind
    if isinstance(row.node, Repeat):
        kinds = list(dict.fromkeys(rows[child].kind for child in row.children))
        kind = f"{'/'.join(kinds)} x{row.node.count}" + (" shared" if row.node.share else "")
    elif row.copies is not None:
        kind = f"{row.kind} x{len(row.copies)}"
    return _Line(level, ("+ " if row.adapter else "") + row.name, kind, ports_text(row.facts),
                 count(row.parameters) if row.parameters != 0 else "", _remark(row), asked)  # fmt: skip


_EFFECTS = {"estimated": "gradient estimated", "none": "no gradient back"}
"""What is said of a node that does not hand its gradient on as the derivative says."""


def _remark(row: Row) -> str:
    node, said = row.node, []
    if node.cause:
        said.append(node.cause)
    if isinstance(node, Repeat) and not node.share and len(row.children) == 1 and row.parameters:
        said.append(f"{row.parameters // node.count:,} each")
    if not row.built:
        said.append("not built: no output needs it")
    if isinstance(node, (Leaf, Group)) and node.same:
        said.append(f"same weights as {node.same}")
    from assembler.adapters.bridges import gradient  # `check` prints a summary of the rows and needs none of it

    effect = gradient(row.facts.definition) if row.facts is not None and row.facts.definition is not None else "exact"
    said += [_EFFECTS[effect]] if effect in _EFFECTS else []
    if isinstance(node, Leaf):
        said += [f"{key} is {owner}" for key, owner in node.ties.items()]
        said += ["frozen"] if node.freeze and row.parameters != 0 else []
    return f"# {'; '.join(said)}" if said else ""


def type_text(kind: Type | None) -> str:
    """A type as recipes spell it; `?` where it is unknown because of a finding elsewhere."""
    return "?" if kind is None else str(kind)


def ports_text(known: NodeFacts | None) -> str:
    """`x: [batch seq 64] -> y: [batch seq 10]`."""
    if known is None:
        return ""
    inputs = [f"{name}: {' + '.join(dict.fromkeys(map(type_text, kinds)))}" for name, kinds in known.inputs.items()]
    outputs = [f"{name}: {type_text(kind)}" for name, kind in known.outputs.items() if not name[:1].isdigit()]  # of copies: below
    return f"{', '.join(inputs)} -> {', '.join(outputs)}"


_RELATIONS = {"multiple_of": "is a multiple of", "at_most": "is at most", "equal": "equals"}


def guard_text(guard: Guard) -> str:
    """A condition on run-time sizes, in words."""
    relation = _RELATIONS.get(guard.relation, guard.relation)
    about = f" ({guard.about})" if guard.about else ""
    return f"{show(guard.left)} {relation} {show(guard.right)}{about}"


def render_graph(graph: Graph, style: Style | None = None) -> str:
    """`show --stage graph`: every edge, scope by scope, in the order of computation."""
    style = style or Style()
    lines = [f"graph {graph.name}"]
    todo: list[tuple[str, int, object]] = [("", 0, graph.scope)]
    while todo:
        _, depth, item = todo.pop()
        pad = "  " * depth
        if isinstance(item, str):
            lines.append(pad + item)
        elif isinstance(item, Leaf):
            stated = item.options.model_dump(by_alias=True, exclude_unset=True) if item.options else {}
            options = "".join(f" {key}={value!r}" for key, value in stated.items())
            lines.append(f"{pad}{item.name}: {item.kind.name}{options}{_edges(item)}{_why(item)}")
        elif isinstance(item, Group):
            lines.append(f"{pad}{item.name}: {item.kind}{_edges(item)}{_why(item)}")
            todo.append(("", depth + 1, item.scope))
        elif isinstance(item, Repeat):
            lines.append(f"{pad}{item.name}: repeat {item.count}{' shared' if item.share else ''}{_edges(item)}")
            for run in reversed(item.runs):
                todo += [("", depth + 2, run.node), ("", depth + 1, f"{run.count} x")]
        elif isinstance(item, Scope):
            todo.extend(_scope_items(item, depth))
    return "\n".join(style.clean(line, MAX_LINE) for line in lines) + "\n"


def _scope_items(scope: Scope, depth: int) -> list[tuple[str, int, object]]:
    """What is printed of a scope, last first."""
    found: list[tuple[str, int, object]] = []
    found += [("", depth, f"in {name}: {port.type}") for name, port in scope.inputs.items()]
    found += [("", depth, node) for node in scope.nodes.values()]
    found += [("", depth, f"out {name} <- {_ref(ref)}") for name, ref in scope.outputs.items()]
    return found[::-1]


def _ref(ref: tuple[str, str]) -> str:
    return f"{ref[0]}.{ref[1]}" if ref[0] else ref[1]


def _edges(node: Leaf | Group | Repeat) -> str:
    return "".join(
        f"  {port} <- {', '.join(_ref(edge.source) for edge in edges)}"
        for port, edges in node.inputs.items()
    )


def _why(node: Leaf | Group) -> str:
    return f"  # {node.cause}" if node.cause else ""


def render_facts(graph: Graph, facts: Facts, style: Style | None = None) -> str:
    """`show --stage facts`: every port's type and every solved size, by address."""
    lines = [f"{name}: {type_text(kind)}" for name, kind in facts.root.inputs.items()]
    for row in walk(graph, facts):
        known = row.facts
        if known is None:
            lines.append(f"{row.address}: unknown")
            continue
        for port, kinds in known.inputs.items():
            lines += [f"{row.address}.{port} <- {type_text(kind)}" for kind in kinds]
        lines += [f"{row.address}.{port} -> {type_text(kind)}" for port, kind in known.outputs.items()]
        lines += [f"{row.address}  {_sizes(known.sizes)}"] if known.sizes else []
    lines += [f"{name} = {type_text(kind)}" for name, kind in facts.root.outputs.items()]
    lines += [f"guard: {guard_text(guard)}" for guard in facts.guards]
    lines += [f"conflict[{item.code}]: {item.address} {item.port} {item.found} against {item.wanted}" for item in facts.conflicts]
    style = style or Style()
    return "\n".join(style.clean(line, MAX_LINE) for line in lines) + "\n"


def _sizes(sizes: Mapping[str, object]) -> str:
    return " ".join(f"{name}={size}" for name, size in sizes.items())
