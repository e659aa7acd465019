"""The numerics of pruning and clustering, in plain NumPy: arrays in, arrays out."""
