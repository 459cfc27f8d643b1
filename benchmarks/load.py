"""Loading half a gigabyte: `assembler.load_model` against what one writes by hand, each in a process of its own.

    python benchmarks/load.py

GPT-2 without a tie (504 MB in float32), the file in the page cache. Time is from the call to the model; memory is what is
resident above the imports, and, for who maps the file, how much of it is not the file's own pages.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from common import answer, machine, say, table, write

RUNS = 5
WAYS = {
    "assembler.load_model": "import assembler.weights.folder\nload = lambda: assembler.load_model(folder)",
    "assembler.load_model, verify=True": "import assembler.weights.folder\nload = lambda: assembler.load_model(folder, verify=True)",
    "build, then torch.load + load_state_dict": """
recipe = assembler.load(folder + "/recipe.yaml")
def load():
    model = assembler.build(recipe, seed=0)
    model.load_state_dict(torch.load(folder + "/model.pt", weights_only=True))
    return model""",
    "class on the CPU, then torch.load + load_state_dict": """
import assembler.compiler.build as b
from assembler.assemble import plan
from assembler.compiler.emit import emit, model_class
planned = plan(folder + "/recipe.yaml")
made = getattr(b.load(emit(planned)), model_class(planned))
def load():
    model = made(seed=0)
    model.load_state_dict(torch.load(folder + "/model.pt", weights_only=True))
    return model""",
    "class on meta, then safetensors + assign": """
import assembler.compiler.build as b
from assembler.assemble import plan
from assembler.compiler.emit import emit, model_class
from safetensors.torch import load_file
planned = plan(folder + "/recipe.yaml")
made = getattr(b.load(emit(planned)), model_class(planned))
def load():
    with torch.device("meta"):
        model = made(seed=0)
    model.load_state_dict(load_file(folder + "/model.safetensors"), assign=True)
    return model""",
}
MEASURED = """
import sys, time
folder = sys.argv[1]
import torch, assembler
torch.set_num_threads(1)
{way}
def resident():
    lines = open("/proc/self/status").read().splitlines()
    found = {{line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("VmHWM", "RssAnon"))}}
    return found["VmHWM"], found["RssAnon"]
assembler.check(folder + "/recipe.yaml")   # whoever loads has imported what checks
before, anonymous = resident()
start = time.perf_counter()
model = load()
spent = time.perf_counter() - start
after, own = resident()
bytes_ = sum(item.nbytes for item in model.parameters())
touched = sum(float(item.detach().sum()) for item in model.parameters())   # every page is read
peak, _ = resident()
del model
again = time.perf_counter()
load()
second = time.perf_counter() - again
print(spent * 1e3, second * 1e3, (after - before) / 1024, (own - anonymous) / 1024, (peak - before) / 1024, bytes_ / 2**20)
"""
MADE = """
import sys, torch, assembler
model = assembler.build(assembler.load("recipes/gpt2.yaml", ["~nodes.head.tie", "vars.depth=" + sys.argv[2]]), seed=0)
assembler.save(model, sys.argv[1])
torch.save(model.state_dict(), sys.argv[1] + "/model.pt")
import hashlib, time
start = time.perf_counter()
with open(sys.argv[1] + "/model.safetensors", "rb") as file:
    hashlib.file_digest(file, "sha256")
print((time.perf_counter() - start) * 1e3)
"""
PARTS = """
import sys, time
folder = sys.argv[1]
import torch, assembler
from assembler.assemble import origin_of
from assembler.compiler.build import build
from assembler.compiler.plan import plan
from assembler.weights.header import read_header
from assembler.weights.places import known, places
from assembler.weights.load import File, fit
from assembler.weights.folder import _assign, _read_lock
from pathlib import Path
torch.set_num_threads(1)
def timed(run):
    start = time.perf_counter(); made = run(); print((time.perf_counter() - start) * 1e3, end=" "); return made
for turn in range(2):
    if turn: print()
    place = Path(folder)
    found = timed(lambda: origin_of(place / "recipe.yaml"))
    planned = plan(found.graph, found.facts)
    model = timed(lambda: build(planned, values=False))
    def rest():
        _read_lock(place)
        header = read_header(place / "model.safetensors")
        about = known(model, found)
        mine = places(model, about)
        fitted = fit(File(str(place / "model.safetensors"), header, None), mine, about)
        values = dict(fitted.values(mine, cast=False, allow_nonfinite=True, stated=True))
        _assign(model, [(mine[key], value) for key, value in values.items()], False)
    timed(rest)
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = f"{folder}/run"
        say("making the model")
        (hashed,) = map(float, answer(MADE, run, "8"))
        size = Path(run, "model.safetensors").stat().st_size
        rows, found = [], {}
        for name, way in WAYS.items():
            say(name)
            turns = [[float(word) for word in answer(MEASURED.format(way=way), run)] for _ in range(RUNS)]
            found[name] = [statistics.median(column) for column in zip(*turns, strict=True)]
        for name, (first, second, resident, own, peak, held) in found.items():
            rows.append([name, f"{first:.0f}", f"{second:.0f}", f"{resident:.0f}", f"{own:.0f}", f"{peak / held:.2f}"])
        parts = [statistics.median(column) for column in zip(*[[float(word) for word in answer(PARTS, run)] for _ in range(RUNS)], strict=True)]
    shares = table(["warm, in one process", "ms"], [["read and check the recipe", f"{parts[0]:.1f}"], ["lay the model out", f"{parts[1]:.1f}"], ["match, map and assign the weights", f"{parts[2]:.1f}"]])
    about = (
        f"{machine('torch', 'safetensors')}, one thread.\n\nWritten by `benchmarks/load.py`: {size / 1e6:.0f} MB of float32 in {RUNS} processes each, medians; the file is in the "
        f"page cache. First and second: two calls in one process. Resident: MiB above the imports, after loading; own: of these not pages of the file. Peak: resident once every weight has been read, over the weights. "
        f"Hashing the file alone takes {hashed:.0f} ms."
    )
    head = ["", "first, ms", "second, ms", "resident, MiB", "own, MiB", "peak / weights"]
    write("load.md", "Loading half a gigabyte", about, table(head, rows), shares)


if __name__ == "__main__":
    main()
