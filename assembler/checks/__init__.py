"""Judging: conflicts of types put into words, and what else a graph must keep."""
