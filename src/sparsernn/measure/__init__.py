"""Numbers about a model: what it costs and how long it takes."""
