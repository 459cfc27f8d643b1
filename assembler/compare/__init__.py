"""What several recipes, or many variants of one, are beside each other."""
