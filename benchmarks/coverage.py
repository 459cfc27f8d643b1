"""Writes `benchmarks/coverage.md`: which kinds, options and pairs the random recipes of CI cover.

Run as `python benchmarks/coverage.py` from the checkout; takes a minute or two, needs no torch.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "schemas")]

from tests.fuzz.coverage import CAMPAIGN, measure, table  # noqa: E402


def main() -> int:
    """Measure, write the table; 1 if something is covered too rarely."""
    found = measure(range(CAMPAIGN))
    (ROOT / "benchmarks" / "coverage.md").write_text(table(found), encoding="utf-8")
    for key, count in found.missing():
        print(f"{' '.join(key)}: {count}", file=sys.stderr)
    print(f"median {found.median_nodes:.0f} nodes; {len(found.missing())} things covered too rarely")
    return 1 if found.missing() else 0


if __name__ == "__main__":
    raise SystemExit(main())
