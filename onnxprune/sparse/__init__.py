"""Weights with zeros inside: patterns, storage, and models with sparse operators."""

from __future__ import annotations

from onnxprune.sparse.masks import Mask, dense_zeros, sparse_initializers
from onnxprune.sparse.patterns import UNSTRUCTURED, Pattern, parse_pattern
from onnxprune.sparse.rewrite import Rewritten, rewrite
from onnxprune.sparse.storage import Stored, decode, encode

__all__ = [
    "UNSTRUCTURED",
    "Mask",
    "Pattern",
    "Rewritten",
    "Stored",
    "decode",
    "dense_zeros",
    "encode",
    "parse_pattern",
    "rewrite",
    "sparse_initializers",
]
