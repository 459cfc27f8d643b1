"""Abstract interpretation of a graph: what is known of every port before any tensor exists."""
