"""ONNX models: running them, packages, and training."""
