"""ONNX importer: reads a model, folds its constants, and translates each node into layers."""
