"""Grafts: parts laid onto a graph from outside. apply.py is the way in."""
