"""Networks that find people and their points, in ONNX Runtime."""
