"""Quantization: real tensors to integer codes and back, and whole networks on integer codes."""
