"""What a row takes from elsewhere: one file a source, whose name it has in run folders and on the command line."""

KIND = "sparsernn.experiments.rows:Source"
