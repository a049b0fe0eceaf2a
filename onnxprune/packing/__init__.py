"""Storage after Deep Compression (Han et al., ICLR 2016): shared weights or int8, gaps for zeros, entropy coding.

A packed file holds the bytes of a model's files, its external data included; only the values of weights are replaced
by those that they share (see `layout.py` for the container). So what is not a weight is exactly what it was.
"""
