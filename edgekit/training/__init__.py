"""The graph as something that can be trained: lifting, simulated quantization, the loop."""
