"""Cells put to a task."""
