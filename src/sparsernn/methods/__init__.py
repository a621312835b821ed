"""What becomes zero: one file a method; `engines` and `parts` hold what methods are composed of."""

KIND = "sparsernn.methods.method:Method"
