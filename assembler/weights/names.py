"""What the files of a saved folder are called."""

WEIGHTS, RECIPE, LOCK = "model.safetensors", "recipe.yaml", "lock.json"
