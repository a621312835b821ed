"""Cutting dead units out of a network, proving that it stays the same, and keeping what is left."""
