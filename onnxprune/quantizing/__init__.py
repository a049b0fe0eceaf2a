"""Quantisation: which layers and values become integers, on which grids, rounded how."""
