"""What computes: each cell declares gates, states, axes and one step."""

KIND = "sparsernn.cells.cell:Cell"
