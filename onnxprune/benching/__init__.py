"""Latency, memory and profiles of ONNX files in ONNX Runtime; what `onnxprune.bench` and the command `bench` do."""
