"""What cells are made of: arithmetic by name, activations, automata and their semirings."""
