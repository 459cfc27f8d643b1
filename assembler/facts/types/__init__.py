"""Analysis T: the types of all ports, solved over the graph. infer.py is its way in."""
