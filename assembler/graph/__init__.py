"""The graph builder: a recipe's sugar becomes plain nodes and edges. No torch."""
