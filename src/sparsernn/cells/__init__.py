"""What computes: each cell declares gates, states, axes and one step; nothing here loads torch."""

KIND = "sparsernn.cells.cell:Cell"
