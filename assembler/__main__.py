"""`python -m assembler`: the command line."""

from __future__ import annotations

import sys

if not sys.flags.safe_path and sys.path:
    # `-m` puts the current folder first: a `torch.py` or `yaml.py` beside a recipe is not ours to run.
    del sys.path[0]

from assembler.cli import command

if __name__ == "__main__":
    command()
