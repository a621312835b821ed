"""Kernels that run the recurrence of weighted automata: a first-order scan over batch x pattern x state."""

KIND = "sparsernn.kernels.registry:Kernel"
