"""Experiments, declared: one file each."""

KIND = "sparsernn.recipes.recipe:Recipe"
