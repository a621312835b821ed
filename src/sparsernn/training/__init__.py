"""The training loop and the folder in which a run lives."""
