"""Formats of sparse weights, and running them without torch."""
