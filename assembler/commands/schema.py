"""`assembler schema`: JSON Schema of recipes, for editors."""

from __future__ import annotations

from assembler.commands.common import give, parser_of


def run(words: list[str]) -> int:
    parser = parser_of("schema", "JSON Schema of recipes, for editors (draft-07).")
    parser.add_argument("-o", "--output", metavar="FILE.json", help="write it there instead of printing it")
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    asked = parser.parse_args(words)
    from assembler.report.schema import render_schema

    return give(render_schema(), asked.output, ".json", asked.force)
