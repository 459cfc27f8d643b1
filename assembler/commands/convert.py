"""`assembler convert MODEL.pt -o MODEL.safetensors`: weights that torch.save wrote, as a file that can only be data."""

from __future__ import annotations

import os
import stat

from assembler.commands.common import OK, UsageError, clean, parser_of, say

ABOUT = """\
A .pt, .pth, .ckpt or .bin file is a pickle, and reading a pickle can run what is inside. This reads it with PyTorch's
weights_only reader (tensors and plain containers; anything else is refused) and writes the tensors, each once.

examples:
  assembler convert model.pt -o model.safetensors
  assembler convert last.ckpt -o model.safetensors --key state_dict     what the file holds besides is left behind
  assembler convert ddp.pt -o model.safetensors --strip module.         a prefix is taken off every name
"""
HEAD = 16


def run(words: list[str]) -> int:
    parser = parser_of("convert", "Weights that torch.save wrote, as safetensors.", ABOUT)
    parser.add_argument("source", metavar="MODEL.pt")
    parser.add_argument("-o", "--output", metavar="FILE.safetensors", required=True, help="where to write")
    parser.add_argument("--key", action="append", default=[], metavar="NAME", help="the state dict stands under this key; again to go deeper")
    parser.add_argument("--strip", default="", metavar="PREFIX", help="take this off every name; all must have it")
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    asked = parser.parse_args(words)
    from assembler.report.output import OutputRefused, check_place

    try:
        place = check_place(asked.output, ".safetensors", asked.force, (asked.source,))
    except OutputRefused as problem:
        raise UsageError(str(problem)) from problem
    if place.exists() and not asked.force:
        raise UsageError(f"{asked.output} exists; --force replaces it")
    _look(asked.source)
    from assembler.weights.convert import convert
    from assembler.weights.header import WeightsError

    try:
        made = convert(asked.source, place, key=asked.key, strip=asked.strip)
    except (WeightsError, OSError) as problem:
        raise UsageError(str(problem)) from problem
    for name, owner in made.tied.items():
        say(f"{clean(name)} is {clean(owner)} once more: written once, and noted")
    say(f"wrote {clean(asked.output)}: {made.tensors} tensors, {made.bytes:,} bytes")
    return OK


def _look(source: str) -> None:
    """What is no file of torch.save is said before torch is imported."""
    from assembler.weights.header import PICKLES, WeightsError, read_header

    try:
        if not stat.S_ISREG(os.stat(source).st_mode):
            raise UsageError(f"{clean(source)} is a folder, a pipe or a device")
        with open(source, "rb") as file:
            head = file.read(HEAD)
    except (OSError, ValueError) as problem:
        raise UsageError(f"{clean(source)} cannot be read: {getattr(problem, 'strerror', None) or problem}") from problem
    if head.startswith((b"PK\x03\x04", b"\x80")) and head[8:9] != b"{":
        return
    if os.path.splitext(source)[1].lower() in PICKLES:
        raise UsageError(f"{clean(source)} does not begin as what torch.save writes: it is damaged, or something else")
    try:
        found = read_header(source)
    except WeightsError as problem:
        raise UsageError(f"{clean(source)} is not what torch.save writes, and not safetensors either: {problem}") from problem
    raise UsageError(f"{clean(source)} is safetensors already: {len(found.entries)} tensors")
