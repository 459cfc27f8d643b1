"""Plan to text to class. `plan`, `emit` and `eject` do not import torch; `build` does."""

from assembler.compiler.eject import eject
from assembler.compiler.emit import emit
from assembler.compiler.model import Plan, PlanError
from assembler.compiler.plan import plan
from assembler.compiler.shapes import predicted

__all__ = ["Plan", "PlanError", "eject", "emit", "plan", "predicted"]
