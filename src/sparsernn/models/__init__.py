"""Cells put to a task."""

KIND = "sparsernn.models.model:Model"
