"""Products of a weight with vectors: one file a format."""

KIND = "sparsernn.kernels.product:Product"
