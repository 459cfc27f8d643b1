"""The command line: one command, its exit code, and nothing ever raised.

Findings go to standard output, everything else to standard error.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from assembler.commands import NAMES
from assembler.commands import command as command_of
from assembler.commands.common import OK, USAGE, WITHOUT_PLUGINS, UsageError, clean, say
from assembler.report.terminal import write

BUG, INTERRUPTED = 70, 130

HELP = """\
usage: assembler COMMAND ...

Neural networks as YAML recipes: checked before training, compiled to plain PyTorch source.

  new NAME                         write a starter recipe, NAME.yaml
  check RECIPE ... [KEY=VALUE ...] all findings, with the lines of both ends
  show RECIPE [KEY=VALUE ...]      every node with its types and parameters
  why RECIPE ADDRESS [KEY=VALUE ...]  how one shape (norm, start, scale) came about, line by line
  explain [CODE]                   what a code means; a bad recipe and a good one
  kinds [NAME]                     the catalogue: ports, options, defaults
  kinds --fits SLOT RECIPE         what would fill a slot, and what the model then comes to
  schema                           JSON Schema of recipes, for editors
  eject RECIPE -o FILE.py [KEY=VALUE ...]  standalone PyTorch source
  convert MODEL.pt -o FILE.safetensors     weights that torch.save wrote, as a file that can only be data
  sweep RECIPE KEY=VALUE,VALUE ... every variant checked, one table
  run RECIPE [KEY=VALUE ...]       build it, run it, compare with what was predicted
  diff A B [KEY=VALUE ...]         what differs in meaning, and which weights survive
  lock RECIPE [KEY=VALUE ...]      keep what the library made of it, for `check --frozen`

first steps:
  assembler new tiny
  assembler check tiny.yaml
  assembler check tiny.yaml slots.ffn.kind=swiglu vars.width=96
  assembler eject tiny.yaml -o tiny.py

--use PACKAGE.MODULE, with any command that reads recipes: import it first, it declares kinds of its own.

`assembler COMMAND --help` says more. Exit codes: 0 clean or warnings only, 1 findings, 2 bad usage or
a recipe that cannot be opened, 70 a bug of ours, 130 interrupted.
"""


def command() -> NoReturn:
    """What the console script and `python -m assembler` run: `main`, in a process that is ours alone and short.

    So it may spare what only a long-lived program needs. Together these are a quarter of the time that a check of a small
    recipe takes: pydantic looks for no plugins (nor would one be welcome where strangers' recipes are checked), circles of
    garbage are looked for seldom, and the process ends without taking its objects apart one by one.
    """
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
    gc.set_threshold(100_000)
    _leave(main())


def _leave(code: int) -> NoReturn:
    if "torch" in sys.modules or sys.gettrace() is not None or sys.getprofile() is not None:
        sys.exit(code)  # others have something to do at the end
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        sys.exit(code)  # Python says at its end what is wrong with the stream
    os._exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Never raises."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        return _dispatch(words)
    except UsageError as problem:
        say("\n".join(clean(line) for line in f"assembler: {problem}".split("\n")))
        return USAGE
    except SystemExit as leaving:  # argparse, after --help
        return leaving.code if isinstance(leaving.code, int) else USAGE
    except KeyboardInterrupt:
        say("assembler: interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        _close_quietly()
        return OK
    except Exception as problem:
        return _bug(problem)


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        write(HELP)
        return OK if words else USAGE
    if words[0] == "--version":
        return _version()
    run = command_of(words[0])
    if run is None:
        import difflib

        near = difflib.get_close_matches(words[0][:64], NAMES, 1)
        hint = f"did you mean `{near[0]}`?" if near else f"the commands are {', '.join(NAMES)}"
        raise UsageError(f"there is no command `{words[0][:200]}`: {hint}")
    return run(_plugged(words[0], words[1:]))


def _plugged(name: str, words: list[str]) -> list[str]:
    """The words of a command without those that bring plugins, once these are there."""
    if name in WITHOUT_PLUGINS or not any(word.startswith(("--use", "--no-plugins")) for word in words):
        return words
    from assembler.plugins.use import PluginError, take

    try:
        return take(words)
    except PluginError as problem:
        raise UsageError(str(problem)) from problem


def _close_quietly() -> None:
    """Nobody reads any more: what is still buffered must not complain at exit."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):
        return


def _version() -> int:
    from importlib import metadata

    try:
        write(f"assembler {metadata.version('model-assembler')}")
    except metadata.PackageNotFoundError:
        write("assembler (not installed)")
    return OK


def _bug(problem: Exception) -> int:
    """Say what happened and how to report it. Nothing is saved."""
    import traceback

    if isinstance(problem, OSError) and problem.filename is None and problem.errno is not None and not _usable_stdout():
        _close_quietly()
        say(f"assembler: the output cannot be written: {problem.strerror}")
        return USAGE
    lines = "".join(traceback.format_exception(problem, limit=-40)).rstrip().split("\n")
    say("\n".join(map(clean, lines[-200:])))
    say(
        "\nassembler: this is a bug of ours, whatever the recipe says.\n"
        "Please report it: the recipe (or the smallest one that still does it), the command line, `assembler --version`\n"
        "and the lines above. Nothing was saved or sent."
    )
    return BUG


def _usable_stdout() -> bool:
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        return False
    return True
