"""Analysis Z: what is exactly zero or equal at the start, and when each weight learns. analysis.py is its way in."""
