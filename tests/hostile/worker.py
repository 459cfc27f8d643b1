"""Runs the command line over many recipes in one process that may nearly nothing. Started by `run.py`.

Reads one JSON job a line (folder, words, seconds), answers one JSON line a job. An audit hook writes
down whatever a check may not do; the address space and the processor time are limited.
"""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import sys
import time
from types import CodeType
from typing import Any

MIB = 2**20
SPACE = 1500 * MIB
"""Address space; what is resident is measured beside it."""

seen: list[str] = []
watching = False
here = ""

_NET = ("socket.", "ssl.", "urllib.", "ftplib.", "http.", "smtplib.", "imaplib.", "telnetlib.", "nntplib.", "poplib.", "webbrowser.")
_RUN = ("subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "pty.", "ctypes.", "code.", "pickle.", "marshal.loads", "shelve.")
_WRITE = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown", "os.utime", "shutil.", "tempfile.", "os.putenv", "os.unsetenv", "os.kill", "sys.settrace", "sys.addaudithook")  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class TooLong(BaseException):
    """Not an `Exception`: nothing may catch it on the way."""


def _late(*_: object) -> None:
    raise TooLong


def _ours(name: object) -> bool:
    """Whether code comes from an installed file: a module that is being imported."""
    return isinstance(name, str) and (name.startswith("<frozen ") or (os.path.isabs(name) and not name.startswith(here)))


def _generated() -> bool:
    """Whether a module is being imported (which is watched by itself): dataclasses and named tuples make code then."""
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


def hook(event: str, args: tuple[Any, ...]) -> None:
    """Note what is not allowed. Reading is, but nothing that is called a secret."""
    if not watching:
        return
    wrong = event.startswith((*_NET, *_RUN, *_WRITE)) and event != "marshal.loads"
    if event == "open":
        path, mode, flags = args[0], args[1], args[2]
        wrong = (isinstance(mode, str) and any(letter in mode for letter in "wax+")) or bool((flags or 0) & _WRITING and mode is None)
        wrong = wrong or (isinstance(path, (str, bytes)) and os.path.basename(os.fsdecode(path)).startswith("secret."))
    elif event == "import":
        wrong = args[0].partition(".")[0] in ("torch", "numpy", "pickle5", "secret")
        wrong = wrong or (isinstance(args[1], str) and args[1].startswith(here))
    elif event == "exec":
        code: CodeType = args[0]
        wrong = not (_ours(code.co_filename) or _generated())
    elif event == "compile":
        wrong = not (_ours(args[1]) or _generated())
    if wrong:
        seen.append(f"{event} {args!r}"[:300])


def _call(words: list[str], seconds: float) -> tuple[int | None, str, str]:
    """One command: its exit code (None: cut off), standard output, standard error."""
    from assembler.cli import main

    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors="strict", newline="") for _ in range(2))
    sys.stdout, sys.stderr = out, err
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        code: int | None = main(words)
    except TooLong:
        code = None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode("utf-8"))
    return code, texts[0], texts[1]


def _peak() -> int:
    """Resident memory at its highest since the last reset, in KiB."""
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1])
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _forget_peak() -> None:
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as control:
            control.write("5")
    except OSError:
        return


def _list(folder: str) -> list[str]:
    return sorted(os.path.join(root, name) for root, folders, files in os.walk(folder) for name in (*folders, *files))


def answer(job: dict[str, Any]) -> dict[str, Any]:
    global watching, here
    here = job["folder"]
    os.chdir(here)
    before = _list(here)
    seen.clear()
    _forget_peak()
    result: dict[str, Any] = {"id": job["id"]}
    for form in job["forms"]:
        words = [*job["words"], *(("--format", "json") if form == "json" else ())]
        watching = True
        began = time.process_time()
        try:
            result[form] = _call(words, job["seconds"])
        finally:
            watching = False
        result[f"{form}_seconds"] = time.process_time() - began
    result["peak"] = _peak()
    result["seen"] = list(seen)
    result["left"] = [name for name in _list(here) if name not in before]
    result["torch"] = "torch" in sys.modules
    os.chdir("/")
    return result


def warm() -> None:
    """Import everything that a check may need: what follows is charged to the recipe alone."""
    import assembler.assemble
    import assembler.report.data
    import assembler.report.text
    import assembler.source.override  # noqa: F401
    from assembler.library import registry

    for name in registry.names():
        registry.kind(name)


def main() -> None:
    sys.addaudithook(hook)
    resource.setrlimit(resource.RLIMIT_AS, (SPACE, SPACE))
    signal.signal(signal.SIGALRM, _late)
    if "--warm" in sys.argv:
        warm()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    for line in sys.stdin:
        answers.write(json.dumps(answer(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
