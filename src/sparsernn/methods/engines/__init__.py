"""Engines that methods stand on: when groups are removed or grown, and in what order."""
