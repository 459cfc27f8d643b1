"""Is a mixture healthy? `report` probes a model, `watch` follows a training loop, `metrics` are the numbers.

`python -m assembler.lab.routing RECIPE` probes a recipe. Every number stands beside its limit or its null.
"""

from assembler.lab.routing.report import (
    COLLAPSE,
    FLAT,
    SATURATED,
    THRASHING,
    UNSPECIALISED,
    Limits,
    Mixture,
    Report,
    report,
)
from assembler.lab.routing.watch import Watch, watch

__all__ = [
    "COLLAPSE",
    "FLAT",
    "SATURATED",
    "THRASHING",
    "UNSPECIALISED",
    "Limits",
    "Mixture",
    "Report",
    "Watch",
    "report",
    "watch",
]
