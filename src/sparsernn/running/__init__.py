"""Running recurrent layers: the one loop over layers, directions and steps, and the modules built on it."""
