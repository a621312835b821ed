"""Callbacks that put a `Sparsifier` into the training loops of others: one file a library."""
