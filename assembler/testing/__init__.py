"""For whoever writes kinds: a battery that holds one to its card, and modules that honour ports. Imports torch."""

from assembler.testing.battery import KindError, check_kind
from assembler.testing.synthetic import Synthetic, synthetic

__all__ = ["KindError", "Synthetic", "check_kind", "synthetic"]
