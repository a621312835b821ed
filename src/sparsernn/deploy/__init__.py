"""Networks made ready to run elsewhere."""
