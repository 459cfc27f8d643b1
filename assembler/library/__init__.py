"""The module library: cards (what a kind is, without torch), modules (what computes), the registry."""
