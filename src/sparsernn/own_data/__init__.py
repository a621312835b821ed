"""A user's own file: the networks that suit it, their training, and predictions for another file."""
