"""Modules of torch that stand around recurrent layers, and these: one file a kind."""

KIND = "sparsernn.structure.neighbour:Neighbour"
