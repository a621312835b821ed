"""Kernels that run one recurrent layer over a whole sequence."""

KIND = "sparsernn.kernels.registry:Kernel"
