"""Proof of a file whose values are integers: its grids, its nodes, and what its kernels compute."""
