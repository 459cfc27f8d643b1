"""How long `torch.compile` takes as a model gets deeper, whole and block by block. Writes compile.md.

    python benchmarks/compile.py            about three minutes; --full also compiles 48 layers whole with inductor

Each compilation runs in a process of its own, with torch's caches off.
"""

from __future__ import annotations

import os
import sys

from common import ENVIRONMENT, answer, machine, say, table, write

os.environ.update(ENVIRONMENT)

CODE = """
import sys, time, torch
from assembler.assemble import plan, recipe
from assembler.compiler.build import build, compile_blocks
depth, backend, blocks, train = int(sys.argv[1]), sys.argv[2], sys.argv[3] == "blocks", sys.argv[4] == "train"
torch.set_num_threads(1)
source = recipe({
    "inputs": {"x": "[batch seq 64]"},
    "nodes": {
        "encoder": {"kind": "bus", "repeat": depth, "norm": "pre", "from": "x",
                    "parts": {"attend": {"kind": "attention", "heads": 4}, "think": {"kind": "mlp"}}},
        "final": {"kind": "layer_norm", "from": "encoder"},
    },
    "outputs": {"result": "final"},
})
model = build(plan(source), seed=0)
plain = build(plan(source), seed=0)
x = torch.randn(2, 32, 64)
# What torch imports and sets up at its first compilation is no cost of this model.
torch.compile(torch.nn.Linear(4, 4), backend=backend)(torch.randn(2, 4)).sum().backward()
form = compile_blocks if blocks else torch.compile
compiled = form(model, fullgraph=True, backend=backend)
start = time.perf_counter()
with torch.set_grad_enabled(train):
    out = compiled(x)
    if train:
        out.sum().backward()
spent = time.perf_counter() - start
torch.testing.assert_close(out, plain(x), rtol=1e-4, atol=1e-4)
later = []
for _ in range(20):
    start = time.perf_counter()
    with torch.set_grad_enabled(train):
        again = compiled(x)
        if train:
            again.sum().backward()
    later.append(time.perf_counter() - start)
print(spent, sorted(later)[10] * 1000)
"""


def main() -> None:
    ENVIRONMENT["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"
    ENVIRONMENT["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    rows = []
    for backend, way, depths in (
        ("aot_eager", "train", (12, 48)),
        ("aot_eager", "predict", (12, 48)),
        ("inductor", "predict", (12, 48)),
        ("inductor", "train", (12, 48)),
    ):
        for depth in depths:
            say(f"{backend}, {way}, {depth} layers ...")
            skip = backend == "inductor" and depth == 48 and "--full" not in sys.argv
            blocks = measured(depth, backend, "blocks", way)
            whole = ("not measured", "") if skip else measured(depth, backend, "whole", way)
            asked = "5" if depth == 48 and backend == "inductor" and way == "predict" else ""
            name = f"{backend}, {'forward and backward' if way == 'train' else 'forward'}, {depth} layers"
            rows.append((name, asked, blocks[0], whole[0], blocks[1], whole[1]))
    about = (
        f"{machine('torch')}, one thread.\n\n"
        "Written by `benchmarks/compile.py`. First call in seconds and later calls in milliseconds (median of 20), torch's caches\n"
        "off, for a pre-norm transformer of width 64 as one repeat. Blocks: `assembler.compile_blocks(model, fullgraph=True)`,\n"
        "which compiles what is alike once; whole: `torch.compile(model, fullgraph=True)`."
    )
    head = ["", "at most", "blocks, s", "whole, s", "blocks, later ms", "whole, later ms"]
    write("compile.md", "Compile time against depth", about, table(head, rows))


def measured(depth: int, backend: str, form: str, way: str) -> tuple[str, str]:
    """First call in seconds, later ones in milliseconds; where torch cannot compile that form, so in a word."""
    try:
        first, later = answer(CODE, str(depth), backend, form, way)
    except RuntimeError as problem:
        last = str(problem).strip().splitlines()[-1]
        say(f"  failed: {last[:300]}")
        return "torch fails", ""
    return f"{float(first):.2f}", f"{float(later):.1f}"


if __name__ == "__main__":
    main()
