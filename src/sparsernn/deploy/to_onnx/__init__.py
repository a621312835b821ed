"""ONNX files of models as their users write them: recurrent layers as one node each, axes free, packing included."""
