"""A model of one's own: what its layers, gates and units do, and how small it can become."""
