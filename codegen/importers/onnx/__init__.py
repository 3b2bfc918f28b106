"""ONNX: read, its constants folded, each node a layer."""
