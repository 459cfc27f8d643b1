"""Analysis S: how large values and gradients are at the start, estimated. analysis.py is its way in."""
