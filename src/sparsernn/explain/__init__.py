"""Explanations: what the automata of a trained network look for."""
