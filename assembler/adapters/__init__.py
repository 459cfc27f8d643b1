"""Mending: adapters put on edges whose widths do not fit, and those that were not needed taken out."""
