"""What becomes zero: one file per method over three engines."""

KIND = "sparsernn.methods.method:Method"
