"""`assembler explain [CODE]`: what a code means."""

from __future__ import annotations

from assembler.commands.common import OK, UsageError, parser_of
from assembler.report.terminal import write


def run(words: list[str]) -> int:
    parser = parser_of("explain", "What a code means, why it matters, a bad recipe and a good one.")
    parser.add_argument("code", nargs="?", metavar="CODE", help="without it: all codes")
    code = parser.parse_args(words).code
    from assembler.report.explain import explain, nearest_codes, render_codes

    page = render_codes() if code is None else explain(code)
    if page is None:
        near = nearest_codes(code)
        hint = f"did you mean {' or '.join(near)}?" if near else "`assembler explain` lists them"
        raise UsageError(f"there is no code `{code[:200]}`: {hint}")
    write(page)
    return OK
