"""The project's data: spans, diagnostics, port types, kinds, recipes. No torch, nothing above it."""
