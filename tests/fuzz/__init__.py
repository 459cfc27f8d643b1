"""Random recipes whose verdict is known beforehand, held against the checker and against torch."""
