"""The machinery of experiments: rows, their sources, how they are run, scored and timed."""
