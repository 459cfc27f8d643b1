"""Reading: bytes to a tree whose every key and value remembers where it was written. No torch."""
