"""Writes `benchmarks/scale.md`: analysis S against built models, case by case, and what it costs.

Run as `python benchmarks/scale.py` from the checkout; takes about a minute on one core.
"""

from __future__ import annotations

import math
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "schemas")]

import torch  # noqa: E402

from assembler.assemble import checked, load  # noqa: E402
from assembler.facts.flow import flow  # noqa: E402
from assembler.facts.scale.analysis import scale  # noqa: E402
from assembler.lab.moments import Moment, tried  # noqa: E402
from benchmarks.common import milliseconds  # noqa: E402
from benchmarks.written import place  # noqa: E402
from tests.facts.scale.scale_cases import SHIPPED, STATIC  # noqa: E402

HEAD = """# Signal scale: predicted against measured

Written by `benchmarks/scale.py`. Mean of 3 seeds (4 of the perceptrons); a factor of 1.05 is an error of 5 % either way.
"Outside" counts the edges outside the band of `docs/contracts-scale.md`.

| case | edges | q median | q 95 % | q worst | g median | g 95 % | g worst | outside | not predicted |
|---|---|---|---|---|---|---|---|---|---|
"""


def _factors(rows: list[Moment], what: str) -> list[float]:
    return sorted(math.exp(abs(math.log(row.measured / row.predicted))) for row in rows if row.what == what and row.predicted and row.measured)


def main() -> int:
    """Measure, write the table; 1 if an edge is outside its band."""
    torch.set_num_threads(1)
    lines, outside = [], 0
    for case in (*STATIC, *SHIPPED):
        rows = tried(*case.graph(), case.sizes, range(case.seeds))
        wrong, unknown = sum(not row.inside for row in rows), sum(row.predicted is None for row in rows)
        outside += wrong
        columns = [f"{found[index(len(found))]:.2f}" for found in (_factors(rows, "q"), _factors(rows, "g")) for index in (lambda n: n // 2, lambda n: int(n * 0.95), lambda n: n - 1)]
        lines.append(f"| {case.name} | {len({row.address for row in rows})} | {' | '.join(columns)} | {wrong} | {unknown} |")
    lines += ["", "| recipe | uses of kinds | forward and backward, ms |", "|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        written = place(Path(folder) / "recipes")
        named = {path.stem: path for path in sorted((ROOT / "recipes").glob("*.yaml"))}
        named |= {f"a transformer written out, {int(count):,} nodes": written[count] for count in ("96", "1000")}
        for name, path in named.items():
            graph, facts = checked(load(path))
            unfolded = flow(graph, facts)
            assert unfolded is not None
            lines.append(f"| {name} | {len(unfolded.uses)} | {min(milliseconds(lambda unfolded=unfolded, facts=facts: scale(unfolded, facts), 9)):.1f} |")  # type: ignore[misc]
    (ROOT / "benchmarks" / "scale.md").write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"{outside} edges outside their band")
    return 1 if outside else 0


if __name__ == "__main__":
    raise SystemExit(main())
