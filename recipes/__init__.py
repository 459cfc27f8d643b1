"""The shipped recipes, as data: `pkg://assembler.recipes` for Hydra."""
