"""Measuring built models: what was predicted against what is. Imports torch; nobody imports it."""
