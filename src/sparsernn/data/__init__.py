"""Where batches come from: one file per task; knows nothing of models."""

KIND = "sparsernn.data.task:Task"
