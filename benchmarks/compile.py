"""How long `torch.compile` takes as a model gets deeper, with and without compiled regions. Writes compile.md.

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
from assembler.compiler.build import build
depth, backend, regions, train = int(sys.argv[1]), sys.argv[2], sys.argv[3] == "regions", sys.argv[4] == "train"
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
model = build(plan(source), seed=0, regions=regions)
x = torch.randn(2, 32, 64)
# What torch imports and sets up at its first compilation is no cost of this model.
torch.compile(torch.nn.Linear(4, 4), backend=backend)(torch.randn(2, 4)).sum().backward()
compiled = torch.compile(model, fullgraph=True, backend=backend)
start = time.perf_counter()
with torch.set_grad_enabled(train):
    out = compiled(x)
    if train:
        out.sum().backward()
spent = time.perf_counter() - start
torch.testing.assert_close(out, model(x), rtol=1e-4, atol=1e-4)
print(spent)
"""


def main() -> None:
    ENVIRONMENT["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"
    ENVIRONMENT["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    rows = []
    for backend, way, depths in (
        ("aot_eager", "train", (12, 48)),
        ("aot_eager", "predict", (12, 48)),
        ("inductor", "predict", (12, 48)),
        ("inductor", "train", (12,)),
    ):
        for depth in depths:
            say(f"{backend}, {way}, {depth} layers ...")
            with_regions = seconds(depth, backend, "regions", way)
            skip = backend == "inductor" and depth == 48 and "--full" not in sys.argv
            whole = None if skip else seconds(depth, backend, "whole", way)
            asked = "5" if depth == 48 and backend == "inductor" else ""
            rows.append((f"{backend}, {'forward and backward' if way == 'train' else 'forward'}, {depth} layers", asked,
                         text(with_regions), "not measured" if skip else text(whole)))  # fmt: skip
    about = (
        f"{machine('torch')}, one thread.\n\n"
        "Written by `benchmarks/compile.py`. Seconds of the first call of `torch.compile(model, fullgraph=True)`, torch's caches\n"
        "off, for a pre-norm transformer of width 64 as one repeat. Regions: `assembler.compiler.build.build(plan, regions=True)`\n"
        "puts `torch.compiler.nested_compile_region` on the repeated block, which is then compiled once."
    )
    write("compile.md", "Compile time against depth", about, table(["first call, s", "at most", "regions", "whole"], rows))


def seconds(depth: int, backend: str, form: str, way: str) -> float | str:
    """Or, where torch cannot compile that form, its complaint in a word."""
    try:
        return float(answer(CODE, str(depth), backend, form, way)[0])
    except RuntimeError as problem:
        last = str(problem).strip().splitlines()[-1]
        say(f"  failed: {last[:300]}")
        return "torch fails"


def text(found: float | str | None) -> str:
    return f"{found:.2f}" if isinstance(found, float) else str(found)


if __name__ == "__main__":
    main()
