"""Weights of built models: kept in folders, loaded, converted, swapped. `header.py` and `match.py` import no torch."""
