"""Analysis N: which values are normed, and how. analysis.py is its way in."""
