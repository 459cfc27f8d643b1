"""The command line as a process: pipes, locales, interrupts, terminals."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from assembler.report.starter import starter

ROOT = Path(__file__).parents[2]
ENV = {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "schemas"))), "PATH": os.environ["PATH"]}
COMMAND = [sys.executable, "-m", "assembler"]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(starter("tiny"))
    (tmp_path / "bad.yaml").write_text(starter("bad").replace("kind: linear", "kind: liñear"), encoding="utf-8")
    return tmp_path


def run(here: Path, *words: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*COMMAND, *words], cwd=here, env=ENV | env, capture_output=True, timeout=60, check=False)


def test_a_reader_that_leaves_is_no_error(here: Path) -> None:
    """`assembler schema | head -1`: nothing on standard error, no traceback at exit."""
    with subprocess.Popen([*COMMAND, "schema"], cwd=here, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


def test_a_closed_standard_output_is_no_error(here: Path) -> None:
    command = " ".join([sys.executable, "-m", "assembler", "check", "bad.yaml", ">&-"])
    done = subprocess.run(["sh", "-c", command], cwd=here, env=ENV, capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr


def test_a_full_disk_under_standard_output_is_said(here: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*COMMAND, "check", "bad.yaml"], cwd=here, env=ENV, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == 2
    assert b"cannot be written" in done.stderr
    assert b"Traceback" not in done.stderr


def test_all_of_a_long_output_arrives(here: Path) -> None:
    """The process ends without Python's own tidying up: nothing may be left in a buffer then."""
    nodes = "".join(f"  n{number}: {{kind: liner, from: x}}\n" for number in range(3000))
    (here / "long.yaml").write_text(f'inputs: {{x: "[batch 4]"}}\nnodes:\n{nodes}outputs: {{y: n0}}\n')
    done = run(here, "check", "--format", "json", "long.yaml", "tiny.yaml")
    assert done.returncode == 1, done.stderr
    long, tiny = (json.loads(line) for line in done.stdout.splitlines())
    assert len(done.stdout) > 500_000
    assert not long["ok"]
    assert tiny["ok"]


def test_a_profiler_has_the_last_word(here: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "cProfile", "-m", "assembler", "check", "tiny.yaml"], cwd=here, env=ENV, capture_output=True, timeout=60, check=False)
    assert b"function calls" in done.stdout, done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "cp1252"])
def test_any_locale_gets_a_report(here: Path, encoding: str) -> None:
    done = run(here, "check", "bad.yaml", PYTHONIOENCODING=encoding, PYTHONUTF8="0", LC_ALL="C")
    assert done.returncode == 1, done.stderr
    text = done.stdout.decode(encoding)
    assert ("ñ" in text) == (encoding != "ascii")
    assert "error[unknown-kind]" in text


@pytest.mark.parametrize("words", [["kinds"], ["kinds", "attention"], ["explain", "shape-mismatch"], ["show", "tiny.yaml"]])
def test_our_own_texts_fit_an_ascii_terminal(here: Path, words: list[str]) -> None:
    done = run(here, *words, PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C")
    assert done.returncode == 0, done.stderr
    done.stdout.decode("ascii")


def test_json_is_ascii_in_any_locale(here: Path) -> None:
    for encoding in ("ascii", "utf-8"):
        done = run(here, "check", "--format", "json", "bad.yaml", PYTHONIOENCODING=encoding)
        assert json.loads(done.stdout.decode("ascii"))["diagnostics"]


def test_output_is_the_same_under_every_hash_seed(here: Path) -> None:
    found = {run(here, "check", "bad.yaml", "--format", form, PYTHONHASHSEED=seed).stdout for form in ("text",) for seed in ("0", "1", "42")}
    assert len(found) == 1


def test_an_interrupt_exits_130(here: Path) -> None:
    """While a pipe is waited for: the recipe is a second process's output that never comes."""
    code = (
        # A process that a shell started in the background ignores the signal, and so would its children.
        "import signal, sys, time\nfrom assembler import assemble, cli\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def slow(*_, **__):\n    print('waiting', file=sys.stderr, flush=True)\n    time.sleep(60)\n"
        "assemble.check = slow\nsys.exit(cli.main(['check', 'tiny.yaml']))"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=here, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"waiting\n"
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(60) == 130
    assert b"Traceback" not in rest


def _on_a_terminal(here: Path, columns: int, **env: str) -> str:
    """What `check bad.yaml` writes to a terminal of a width."""
    import fcntl
    import struct
    import termios

    main, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen([*COMMAND, "check", "bad.yaml"], cwd=here, env=ENV | {"TERM": "xterm"} | env, stdout=inner, stderr=inner)
    os.close(inner)
    found, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([main], [], [], 0.1)[0]:
            try:
                part = os.read(main, 65536)
            except OSError:  # the other end is closed
                break
            found += part
    process.wait(60)
    os.close(main)
    assert process.returncode == 1
    return found.decode("utf-8")


def test_a_terminal_gets_colour_and_no_color_takes_it_away(here: Path) -> None:
    assert "\x1b[1;31m" in _on_a_terminal(here, 80, PYTHONUTF8="1")
    assert "\x1b" not in _on_a_terminal(here, 80, PYTHONUTF8="1", NO_COLOR="1")


def test_a_terminal_of_one_column_gets_a_report(here: Path) -> None:
    assert "error[unknown-kind]" in _on_a_terminal(here, 1, PYTHONUTF8="1", NO_COLOR="1")


def test_the_environment_changes_nothing_but_what_is_documented(here: Path) -> None:
    plain = run(here, "check", "bad.yaml").stdout
    hostile = run(here, "check", "bad.yaml", HYDRA_FULL_ERROR="1", OMEGACONF_X="1", PAGER="false", PYTHONSTARTUP="x.py", ASSEMBLER_DEBUG="1").stdout
    assert plain == hostile
