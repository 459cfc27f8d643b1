"""The cards, one file for a family of kinds. No torch here, and nothing that costs time to import."""
