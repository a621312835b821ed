"""The seam between a method and any training loop: hooks on a model and its optimizer, and all state in one place."""
