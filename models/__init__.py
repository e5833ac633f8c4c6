"""ONNX models: running them, packages, and training."""

import os

# From 1.29 on onnxruntime tells its maker about the models that it runs, and keeps what it could
# not send in the user's home. It looks for this once, when it is loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
