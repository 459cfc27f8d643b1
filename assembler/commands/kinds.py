"""`assembler kinds [NAME]`: the catalogue."""

from __future__ import annotations

from assembler.commands.common import OK, UsageError, parser_of
from assembler.report.terminal import write


def run(words: list[str]) -> int:
    parser = parser_of("kinds", "The catalogue of kinds, or one kind with ports, options, defaults and an example.")
    parser.add_argument("name", nargs="?", metavar="NAME", help="without it: all kinds")
    name = parser.parse_args(words).name
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
