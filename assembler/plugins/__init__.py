"""Kinds that are not ours: a decorator that declares them, and what imports them. Imports no torch."""
