"""`assembler new NAME`: a starter recipe."""

from __future__ import annotations

from assembler.commands.common import OK, UsageError, parser_of, say


def run(words: list[str]) -> int:
    parser = parser_of("new", "Write a starter recipe, NAME.yaml, into this folder.")
    parser.add_argument("name", metavar="NAME", help="letters, digits and _; a letter first")
    name = parser.parse_args(words).name.removesuffix(".yaml")
    from pathlib import Path

    from assembler.report.output import OutputRefused, create_file
    from assembler.report.starter import starter
    from assembler.source.names import NAME

    if NAME.match(name) is None or len(name) > 64:
        raise UsageError(f"`{name[:200]}` cannot name a recipe: letters a-z, digits and _, a letter first")
    try:
        create_file(Path(f"{name}.yaml"), starter(name))
    except OutputRefused as problem:
        raise UsageError(str(problem)) from problem
    say(f"wrote {name}.yaml; next: assembler check {name}.yaml")
    return OK
