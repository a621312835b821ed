"""Experiments, declared: one file each."""

KIND = "sparsernn.experiments.recipe:Recipe"
